"""The first tab: choose a model, drop in photos, see its guesses, its latency, and where it looked."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

import engine
import explain
import zoo
from ui import cards, link, picker, work
from ui.device import QUEUE
from ui.picker import QUICK, Picker
from zoo.photo import PhotoError, open_photo

GRADIO_PHOTOS = Path(gr.__file__).parent / "media_assets" / "images"
EXAMPLES = [str(GRADIO_PHOTOS / name) for name in ("cheetah.jpg", "lion.jpg", "bus.png", "tower.jpg")]
MOST_PHOTOS = 12
FRESH_INSTEAD = "Its structure and its latency can be had all the same: choose fresh weights, the last under Weights."
# A click on a photo whose method takes a place: its number, and the place in it, from 0 to 1.
TELL_CLICK = """element.addEventListener('click', (event) => {
    const stack = event.target.closest('.stack.asks');
    if (!stack) return;
    const box = stack.getBoundingClientRect();
    const down = (event.clientY - box.top) / box.height, across = (event.clientX - box.left) / box.width;
    trigger('select', {index: [Number(stack.dataset.photo), down, across]});
});"""
SET_OPACITY = "(v) => { document.documentElement.style.setProperty('--heat', v); }"


@dataclass
class Parts:
    """The components of the tab, in the order that they are read."""

    photos: gr.Gallery
    examples: gr.Gallery
    picker: Picker
    run: gr.Button
    stop: gr.Button
    method: gr.Dropdown
    target: gr.Textbox
    contrast: gr.Textbox
    layer: gr.Dropdown
    head: gr.Dropdown
    signed: gr.Checkbox
    together: gr.Checkbox
    opacity: gr.Slider
    notice: gr.HTML
    timing: gr.HTML
    longer: gr.Button
    results: gr.HTML
    evaluate: gr.Button
    evaluation: gr.HTML
    link: gr.Textbox

    @property
    def choice(self) -> list:
        """What an engine.Request is made of, in its order."""
        how = [self.method, self.target, self.contrast, self.layer, self.head, self.signed, self.together]
        return [self.picker.model, *how]


def layout() -> Parts:
    """Place the components."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            photos = gr.Gallery(
                label="Photos", type="filepath", interactive=True, columns=4, height=150,
                file_types=["image"], sources=["upload", "webcam", "clipboard"], elem_id="photos",
            )  # fmt: skip
            examples = gr.Gallery(
                EXAMPLES, label="Or take one of these", interactive=False, columns=4, height=110, allow_preview=False,
                buttons=[], object_fit="cover", elem_id="examples",
            )  # fmt: skip
            model = picker.layout()
            with gr.Row():
                run = gr.Button("Look", variant="primary", elem_id="run", scale=3)
                stop = gr.Button("Stop", elem_id="stop", scale=1)
        with gr.Column(scale=3, min_width=320):
            with gr.Row():
                methods = [(f"{m.title} · {m.cost}" if m.slow else m.title, key) for key, m in explain.METHODS.items()]
                method = gr.Dropdown(methods, value="grad_cam", label="Map", elem_id="method", min_width=320)
                layer = gr.Dropdown(label="Layer", visible=False, elem_id="layer", min_width=150)
                head = gr.Dropdown(label="Head", visible=False, elem_id="head", min_width=120)
            with gr.Row():
                target = gr.Textbox(label="Class", placeholder="first guess", elem_id="class", min_width=120)
                contrast = gr.Textbox(label="Against", placeholder="no other class", elem_id="against", min_width=120)
                opacity = gr.Slider(0, 1, 0.55, label="Opacity", elem_id="opacity", min_width=150, buttons=[])
            with gr.Row():
                signed = gr.Checkbox(label="Show what speaks against, too", elem_id="signed", min_width=200)
                together = gr.Checkbox(label="One colour scale for all photos", elem_id="together", min_width=200)
            notice = gr.HTML(elem_id="notice")
            with gr.Row():
                timing = gr.HTML(elem_id="timing")
                longer = gr.Button("Time it for 10 seconds", size="sm", elem_id="longer", scale=0, min_width=190)
            results = gr.HTML(elem_id="results", js_on_load=TELL_CLICK)
            evaluate_ = gr.Button("Can this map be trusted? Measure it", size="sm", elem_id="evaluate")
            evaluation = gr.HTML(elem_id="evaluation")
            address = gr.Textbox(label="Link to this choice", buttons=["copy"], interactive=False, elem_id="link")
    return Parts(
        photos, examples, model, run, stop, method, target, contrast, layer, head, signed, together, opacity, notice,
        timing, longer, results, evaluate_, evaluation, address,
    )  # fmt: skip


def wire(p: Parts, demo: gr.Blocks) -> None:
    """Say which event calls what."""
    model = p.picker.model
    picker.wire(p.picker)
    demo.load(restore, None, [p.picker.architecture, *p.choice, p.notice], **QUICK)
    p.examples.select(add_example, p.photos, p.photos, **QUICK)
    narrowed = [p.layer, p.head, p.target, p.contrast]
    model.change(fitting_method, [model, p.method], p.method, **QUICK)
    gr.on([model.change, p.method.change], offer, [model, p.method, p.layer, p.head], narrowed, **QUICK)
    written = gr.on([part.change for part in p.choice], write_link, p.choice, p.link, **QUICK)
    written.then(None, p.link, None, js=link.TO_ADDRESS_BAR)
    p.opacity.input(None, p.opacity, None, js=SET_OPACITY)
    shown = [p.results, p.timing, p.notice]
    running: dict[str, Any] = dict(api_visibility="private", show_progress_on=p.results, **QUEUE)
    looking = p.run.click(look, [p.photos, *p.choice], shown, **running)
    asking = p.results.select(look, [p.photos, *p.choice], shown, **running)
    timing = p.longer.click(measure, model, [p.timing, p.notice], api_visibility="private", **QUEUE)
    evaluating = p.evaluate.click(
        evaluate,
        [p.photos, *p.choice],
        [p.evaluation, p.notice],
        api_visibility="private",
        show_progress_on=p.evaluation,
        **QUEUE,
    )
    p.stop.click(work.stop, None, None, cancels=[looking, asking, timing, evaluating], **QUICK)


def restore(request: gr.Request) -> list:
    """Show the choice that the address names, or the best model that needs no network."""
    notice, choice = "", engine.Request(model=picker.first_choice())
    try:
        choice = link.read(request) or choice
        architecture, model = picker.show(choice.model)
    except (KeyError, engine.EngineError) as error:
        notice = cards.notice(error.args[0])
        choice = engine.Request(model=picker.first_choice())
        architecture, model = picker.show(choice.model)
    layer, head, target, contrast = offer(choice.model, choice.method, choice.layer, choice.head)
    target.value, contrast.value = choice.target, choice.contrast
    return [architecture, model, choice.method, target, contrast, layer, head, choice.signed, choice.together, notice]


def fitting_method(model: str | None, method: str) -> str:
    """Keep the chosen method, unless it asks for a class and the checkpoint has none: its features can be seen."""
    if model is None or not explain.METHODS[method].by_class:
        return method
    return method if engine.has_classes(model) else "pca"


def offer(model: str | None, method: str, layer: str, head: int) -> tuple:
    """Show the choices that a method has: a layer, and a head of it for attention; classes for class maps."""
    if model is None:  # the page is still being filled
        return (gr.skip(),) * 4
    row, wanted = engine.recipe(model), explain.METHODS[method]
    price = zoo.cost(row.architecture, row.size, row.num_classes)
    if wanted.takes("layer"):
        depths = [("last", ""), *((f"{i}: {path}", str(i)) for i, (path, _) in enumerate(price.attention_layers))]
        heads = max((count for _, count in price.attention_layers), default=0)
    else:
        stages = price.stages if wanted.takes("tap") else ()
        depths, heads = [("where the head reads", ""), *((name, name) for name in stages)], 0
    layer = layer if layer in (value for _, value in depths) else ""
    return (
        gr.Dropdown(choices=depths, value=layer, visible=len(depths) > 1),
        gr.Dropdown(
            choices=[("mean of all", -1), *((str(h), h) for h in range(heads))],
            value=head if head < heads else -1,
            visible=heads > 0,
        ),
        gr.Textbox(visible=wanted.by_class),
        gr.Textbox(visible=wanted.by_class),
    )


def write_link(*choice: Any) -> str:
    return link.write(engine.Request(*choice)) if choice[0] else ""


def add_example(photos: list | None, event: gr.SelectData) -> list:
    return [*(path for path, _ in photos or []), EXAMPLES[event.index]]


def look(
    paths: list | None,
    model: str,
    method: str,
    target: str,
    contrast: str,
    layer: str,
    head: int,
    signed: bool,
    together: bool,
    visitor: gr.Request,
    event: gr.EventData,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> Iterator[tuple]:
    """Open the photos, have the weights, look, then time the model. A photo that cannot be read spoils no other.

    A click on a photo looks again, for that place, and leaves the time as it stands.
    """
    clicked, same = _place(event), gr.skip()
    if not paths:
        yield same, same, cards.notice("There is no photo yet: upload one, paste one, or take an example.")
        return
    request = engine.Request(model, method, target, contrast, layer, head, signed, together, clicked)
    opened = [(Path(path).name, _open(path)) for path, _ in paths[:MOST_PHOTOS]]
    good = [photo for _, photo in opened if not isinstance(photo, str)]
    notes = [f"Only the first {MOST_PHOTOS} photos are looked at."] if len(paths) > MOST_PHOTOS else []
    try:
        work.fetch(model, progress)
        progress(None, desc="Looking")
        seen = iter(work.look(request, good, work.steps(visitor.session_hash, progress)) if good else [])
        shown = [(name, photo if isinstance(photo, str) else next(seen)) for name, photo in opened]
        if engine.recipe(model).source == engine.FRESH:
            notes.append("These weights are fresh and untrained: read the latency and the structure, not the map.")
        yield cards.looks(shown, model, method), same if clicked else "", cards.notice(*notes)
        if good and not clicked:
            progress(None, desc="Timing")
            yield same, cards.timing(work.time_it(model, 1.5)), same
    except work.StoppedError:
        yield same, same, cards.notice("Stopped.")
    except zoo.WeightsError as error:
        yield same, same, cards.notice(*notes, str(error), FRESH_INSTEAD)
    except ValueError as error:
        yield same, same, cards.notice(*notes, str(error))


def evaluate(
    paths: list | None,
    model: str,
    method: str,
    target: str,
    contrast: str,
    layer: str,
    head: int,
    signed: bool,
    together: bool,
    visitor: gr.Request,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> tuple:
    """Try the map on the photos that can be read, beside maps that know nothing of the model."""
    opened = [_open(path) for path, _ in (paths or [])[:MOST_PHOTOS]]
    good = [photo for photo in opened if not isinstance(photo, str)]
    if not good:
        return gr.skip(), cards.notice("There is no photo yet: upload one, paste one, or take an example.")
    request = engine.Request(model, method, target, contrast, layer, head, signed, together)
    try:
        work.fetch(model, progress)
        found = work.evaluate(request, good, work.steps(visitor.session_hash, progress, "Measuring"))
        return cards.evaluation(found, explain.METHODS[method].title), ""
    except work.StoppedError:
        return gr.skip(), cards.notice("Stopped.")
    except (ValueError, zoo.WeightsError) as error:
        return gr.skip(), cards.notice(str(error))


def _place(event: gr.EventData) -> tuple[int, engine.Place] | None:
    """The number of the photo that was clicked, and where; None if it was the button."""
    if not isinstance(event.target, gr.HTML):
        return None
    photo, down, across = event._data["index"]
    return photo, (down, across)


def _open(path: str):
    """A picture, or the sentence that says why there is none."""
    try:
        return open_photo(path)
    except PhotoError as error:
        return str(error)


def measure(model: str, progress: gr.Progress = gr.Progress()) -> tuple:  # noqa: B008
    try:
        work.fetch(model, progress)
        return cards.timing(work.time_it(model, 10.0)), ""
    except zoo.WeightsError as error:
        return gr.skip(), cards.notice(str(error), FRESH_INSTEAD)
    except ValueError as error:
        return gr.skip(), cards.notice(str(error))
