"""A page with the widgets alone, for the tests: `python -m tests.ui.widgets_app`. Some rows come late on purpose."""

import time
from typing import Any

import gradio as gr
from starlette.responses import JSONResponse
from starlette.routing import Route

from ui import static, uploads
from ui.widgets import CSS, HEAD, combobox, photo_strip

MODELS = ["fastvit_t8", "vit_base_patch16_224", "ecaresnet50d", "resnet50", "resnet50d", "swin_base_patch4_window7_224"]
ROWS = [
    *([name, name, "80.4 %  ImageNet", "offline" if name == "resnet50" else "", f"about {name}"] for name in MODELS),
    *([f"{name}.a1_in1k", f"{name}.a1_in1k", "", "", "", "", "", "1"] for name in MODELS),
]
METHODS = [
    ["grad_cam", "Grad-CAM", "", "", "regions that raised the score", "Class maps"],
    ["layer_cam", "Layer-CAM", "", "", "the same, pixel by pixel", "Class maps"],
    ["rollout", "Attention rollout", "", "", "", "Attention", "A convolution network has no attention."],
    ["saliency", "Saliency", "", "", "how much each pixel moves the score", "Pixels"],
]
MANY = [[f"model_{i}", f"model_{i}", f"{i / 20:.1f} %"] for i in range(2000)]
LATE = [["late", "Late", "99 %"], ["later", "Later"]]
CLASSES = [["tabby", "tabby"], ["264", "cardigan"], ["Cardigan", "Cardigan (dog)"], ["747 jet", "747 jet"]]
# Without this, gradio drops what a visitor does while the answer to the last thing is on its way.
EACH: dict[str, Any] = dict(trigger_mode="always_last", show_progress="hidden")
CARD = """zoo.combobox(element, {named: 'True class of lion.jpg', rows: ['lion', 'lynx'].map((name) => [name, name]),
    optional: true}, (value) => { props.value = value; trigger('input'); });"""


def late(request):
    time.sleep(1)
    return JSONResponse(LATE)


def told(*values) -> str:
    return " | ".join(str(value) for value in values)


def build() -> gr.Blocks:
    """Every widget, and a text that says what the server received."""
    with gr.Blocks(analytics_enabled=False) as demo:
        boxes = [
            combobox("Model", "model", ROWS, "vit_base_patch16_224", width=440),
            combobox("Explanation", "method", METHODS, "grad_cam"),
            combobox("Class", "class", CLASSES, optional=True, free=True, placeholder="first prediction"),
            combobox("Many", "many", MANY, "model_3", hint=False),
            combobox("Late", "late", "late.json", "late"),
            gr.HTML("", html_template="", js_on_load=CARD, elem_id="card", apply_default_css=False),
        ]
        strip = photo_strip("photos", [uploads.example("lion.jpg")]).strip
        choice, said = gr.Textbox(elem_id="choice", label="Choice"), gr.Textbox(elem_id="said", label="Photos")
        for box in boxes:
            box.input(told, boxes, choice, **EACH)
        strip.input(said_of, strip, said, **EACH)
        change = gr.Button("Other rows", elem_id="change")
        change.click(lambda: gr.HTML(value="b", rows=[["b", "Bee", "1 %", "", "buzzes"]]), None, boxes[1])
    return demo


def said_of(photos) -> str:
    try:
        read = uploads.read(photos)
    except ValueError as error:
        return str(error)
    return ", ".join(f"{photo.name} {len(photo.data)}" for photo in read) or "none"


if __name__ == "__main__":
    routes = [*static.ROUTES, Route("/late.json", late)]
    build().launch(head=HEAD, css_paths=CSS, app_kwargs={"routes": routes}, ssr_mode=False, quiet=True)
