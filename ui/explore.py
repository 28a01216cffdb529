"""The first tab: choose a model, drop in photos, see its guesses, its latency, and where it looked."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

import engine
import explain
import zoo
from ui import cards, link, picker, work
from ui.picker import COPY, QUICK, Picker

GRADIO_PHOTOS = Path(gr.__file__).parent / "media_assets" / "images"
EXAMPLES = [str(GRADIO_PHOTOS / name) for name in ("cheetah.jpg", "lion.jpg", "bus.png", "tower.jpg")]
MOST_PHOTOS = 12
KEPT = 3600  # seconds that the last maps are kept in memory for saving
UNTRAINED = "These weights are random and untrained: use them for latency and structure, and do not interpret the map."
# A click on Save sends the photo's number; one on a photo whose method takes a place also the place, from 0 to 1.
TELL_CLICK = """element.addEventListener('click', (event) => {
    const save = event.target.closest('.save');
    if (save) trigger('download', {index: Number(save.dataset.photo)});
    const stack = event.target.closest('.stack.asks');
    if (!stack) return;
    const box = stack.getBoundingClientRect();
    const down = (event.clientY - box.top) / box.height, across = (event.clientX - box.left) / box.width;
    trigger('select', {index: [Number(stack.dataset.photo), down, across]});
});"""
SET_OPACITY = "(v) => { document.documentElement.style.setProperty('--heat', v); }"

# The file goes straight to the visitor and is not written on the server.
DOWNLOAD = """(file) => {
    if (!file) return;
    const link = document.createElement('a');
    link.download = file.name;
    link.href = 'data:application/zip;base64,' + file.content;
    link.click();
}"""


@dataclass
class Parts:
    """The components of the tab, in reading order."""

    photos: gr.Gallery
    examples: gr.Gallery
    picker: Picker
    run: gr.Button
    stop: gr.Button
    method: gr.Dropdown
    target: gr.Textbox
    contrast: gr.Textbox
    layers: gr.Dropdown
    layer: gr.Textbox  # the chosen one; hidden
    heads: gr.Dropdown
    head: gr.Number  # the chosen one; hidden
    signed: gr.Checkbox
    together: gr.Checkbox
    opacity: gr.Slider
    notice: gr.HTML
    timing: gr.HTML
    longer: gr.Button
    results: gr.HTML
    kept: gr.State  # the photos' names, and their looks
    file: gr.JSON
    evaluate: gr.Button
    evaluation: gr.HTML
    link: gr.Textbox
    opening: gr.Textbox  # what is looked at unasked; not seen

    @property
    def choice(self) -> list:
        """The components of an engine.Request, in the order of its fields."""
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
                layers = gr.Dropdown(label="Layer", visible=False, elem_id="layer", min_width=150)
                heads = gr.Dropdown(label="Head", visible=False, elem_id="head", min_width=120)
                layer, head = gr.Textbox(visible="hidden"), gr.Number(-1, precision=0, visible="hidden")
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
            kept, file = gr.State(time_to_live=KEPT), gr.JSON(visible=False)
            evaluate_ = gr.Button("Can this map be trusted? Measure it", size="sm", elem_id="evaluate")
            evaluation = gr.HTML(elem_id="evaluation")
            address = gr.Textbox(label="Link to this choice", buttons=["copy"], interactive=False, elem_id="link")
            opening = gr.Textbox(visible="hidden")
    return Parts(
        photos, examples, model, run, stop, method, target, contrast, layers, layer, heads, head, signed, together,
        opacity, notice, timing, longer, results, kept, file, evaluate_, evaluation, address, opening,
    )  # fmt: skip


def wire(p: Parts, demo: gr.Blocks) -> None:
    """Connect events to handlers."""
    model = p.picker.model
    picker.wire(p.picker)
    narrowed = [p.layers, p.layer, p.heads, p.head, p.target, p.contrast]
    started = [p.picker.architecture, p.picker.weights, model, p.method, *narrowed, p.signed, p.together, p.notice]
    demo.load(restore, None, [*started, p.opening], **QUICK)
    p.examples.select(add_example, p.photos, p.photos, **QUICK)
    p.layers.input(None, p.layers, p.layer, js=COPY)
    p.heads.input(None, p.heads, p.head, js=COPY)
    model.change(fitting_method, [model, p.method], p.method, **QUICK)
    gr.on([model.change, p.method.change], offer, [model, p.method, p.layer, p.head], narrowed, **QUICK)
    written = gr.on([part.change for part in p.choice], write_link, p.choice, p.link, **QUICK)
    written.then(None, p.link, None, js=link.TO_ADDRESS_BAR)
    p.opacity.input(None, p.opacity, None, js=SET_OPACITY)
    wire_jobs(p)


def wire_jobs(p: Parts) -> None:
    """Connect the events that start or stop a job."""
    asked, shown = [p.photos, *p.choice], [p.results, p.kept, p.timing, p.notice]
    running: dict[str, Any] = dict(api_visibility="private")
    opening = p.opening.change(look, asked, shown, show_progress="hidden", **running)
    looks: dict[str, Any] = dict(show_progress_on=p.results, cancels=[opening], **running)
    looking = p.run.click(look, asked, shown, **looks)
    asking = p.results.select(look, asked, shown, **looks)
    timing = p.longer.click(measure, p.choice, [p.timing, p.notice], **running)
    tried = [p.evaluation, p.notice]
    evaluating = p.evaluate.click(evaluate, asked, tried, show_progress_on=p.evaluation, **running)
    p.stop.click(None, None, None, cancels=[opening, looking, asking, timing, evaluating], **QUICK)
    p.stop.click(lambda: cards.notice("Stopped."), None, p.notice, **QUICK)
    saved = p.results.download(save, p.kept, [p.file, p.notice], **QUICK)
    saved.then(None, p.file, None, js=DOWNLOAD)


def restore(request: gr.Request) -> list:
    """Show the choice in the address, or else the best model that needs no network and its answer for an example.

    What an address names is not run unasked: it may be slow, or need a download.
    """
    notice, choice = "", engine.Request(model=picker.first_choice())
    opening = EXAMPLES[0]
    try:
        if named := link.read(request):
            choice, opening = named, ""
        picked = picker.show(choice.model)
    except engine.EngineError as error:
        notice, opening = cards.notice(str(error)), ""
        choice = engine.Request(model=picker.first_choice())
        picked = picker.show(choice.model)
    *narrowed, target, contrast = offer(choice.model, choice.method, choice.layer, choice.head)
    target.value, contrast.value = choice.target, choice.contrast
    return [*picked, choice.method, *narrowed, target, contrast, choice.signed, choice.together, notice, opening]


def fitting_method(model: str, method: str) -> str:
    """Keep the chosen method, but show features if the method needs a class and the checkpoint has none."""
    if not model or not explain.METHODS[method].by_class:
        return method
    return method if engine.has_classes(model) else "pca"


def offer(model: str, method: str, layer: str, head: int) -> tuple:
    """Show a method's own choices: a layer, its heads for attention, and classes for class maps."""
    if not model:  # the page is not filled yet
        return (gr.skip(),) * 6
    row, wanted = engine.recipe(model), explain.METHODS[method]
    price = zoo.cost(row.architecture, row.size, row.num_classes)
    if wanted.takes("layer"):
        depths = [("last", ""), *((f"{i}: {path}", str(i)) for i, (path, _) in enumerate(price.attention_layers))]
        heads = max((count for _, count in price.attention_layers), default=0)
    else:
        stages = price.stages if wanted.takes("tap") else ()
        depths, heads = [("where the head reads", ""), *((name, name) for name in stages)], 0
    layer = layer if layer in (value for _, value in depths) else ""
    head = head if head < heads else -1
    numbers = [("mean of all", -1), *((str(h), h) for h in range(heads))]
    return (
        gr.Dropdown(choices=depths, value=layer, visible=len(depths) > 1),
        layer,
        gr.Dropdown(choices=numbers, value=head, visible=heads > 0),
        head,
        gr.Textbox(visible=wanted.by_class),
        gr.Textbox(visible=wanted.by_class),
    )


def request(*choice: Any) -> engine.Request:
    """A request from the values of Parts.choice, in their order."""
    return engine.Request(*choice)


def write_link(*choice: Any) -> str:
    wanted = request(*choice)
    return link.write(wanted) if wanted.model else ""


def add_example(photos: list | None, event: gr.SelectData) -> list:
    return [*(path for path, _ in photos or []), EXAMPLES[event.index]]


async def look(
    event: gr.EventData,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
    *values: Any,
) -> AsyncGenerator[Any, None]:
    """Classify and explain the photos, then time the model. A photo that cannot be read does not affect the others.

    A click on a photo repeats this for that place, and keeps the timing.
    """
    files, notes = _files(values[0])
    wanted, same = replace(request(*values[1:]), clicked=_place(event)), gr.skip()
    try:
        async with aclosing(work.run(engine.Job("look", wanted, files), progress)) as looking:
            async for found in looking:
                if isinstance(found, engine.Looks):
                    notes += [UNTRAINED] if engine.recipe(wanted.model).source == engine.RANDOM else []
                    shown = list(zip([file.name for file in files], found.photos, strict=True))
                    html = cards.looks(shown, wanted.model, wanted.method)
                    yield html, shown, same if wanted.clicked else "", cards.notice(*notes)
                    if wanted.clicked or all(isinstance(look, str) for look in found.photos):
                        return
                else:
                    yield same
        async with aclosing(work.run(engine.Job("time", wanted), progress)) as timing:
            async for found in timing:
                yield (same, same, cards.timing(found), same) if isinstance(found, engine.Timing) else same
    except engine.EngineError as error:
        yield same, same, same, cards.notice(*notes, str(error))


async def evaluate(
    progress: gr.Progress = gr.Progress(),  # noqa: B008
    *values: Any,
) -> AsyncGenerator[Any, None]:
    """Evaluate the map on the photos that can be read, compared with maps that know nothing about the model."""
    files, _ = _files(values[0])
    wanted, same = request(*values[1:]), gr.skip()
    title = explain.METHODS[wanted.method].title
    try:
        async with aclosing(work.run(engine.Job("evaluate", wanted, files), progress)) as evaluating:
            async for found in evaluating:
                yield (cards.evaluation(found, title), "") if isinstance(found, engine.Evaluation) else same
    except engine.EngineError as error:
        yield same, cards.notice(str(error))


async def measure(
    progress: gr.Progress = gr.Progress(),  # noqa: B008
    *choice: Any,
) -> AsyncGenerator[Any, None]:
    """Time the model again, for longer."""
    same = gr.skip()
    try:
        async with aclosing(work.run(engine.Job("time", request(*choice), seconds=10.0), progress)) as timing:
            async for found in timing:
                yield (cards.timing(found), "") if isinstance(found, engine.Timing) else same
    except engine.EngineError as error:
        yield same, cards.notice(str(error))


def save(kept: list[tuple[str, engine.Look]] | None, event: gr.EventData) -> tuple:
    """Pack the files of one photo's map."""
    if not kept:
        return None, cards.notice("Maps are kept for an hour, and these are gone: press Look again, then save.")
    title, look = kept[event._data["index"]]
    name = f"{Path(title).stem}.{look.map.facts['method']}.zip"
    return {"name": name, "content": base64.b64encode(engine.archive(look)).decode()}, ""


def _files(photos: list | None) -> tuple[tuple[engine.Photo, ...], list[str]]:
    """The uploaded files, or an example while there are none; and a note if there are too many."""
    paths = [path for path, _ in photos or []] or EXAMPLES[:1]
    notes = [f"Only the first {MOST_PHOTOS} photos are used."] if len(paths) > MOST_PHOTOS else []
    return work.read(paths[:MOST_PHOTOS]), notes


def _place(event: gr.EventData) -> tuple[int, engine.Place] | None:
    """The number of the clicked photo, and the place in it; None if the button was pressed."""
    if not isinstance(event.target, gr.HTML):
        return None
    photo, down, across = event._data["index"]
    return photo, (down, across)
