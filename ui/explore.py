"""The first tab: photos and choices in a rail at the left, the answer at the right."""

import asyncio
from dataclasses import dataclass
from typing import Any

import gradio as gr

import engine
from ui import answer, cards, changes, choices, facts, figures, link, multiples, save, uploads, work
from ui.door import clean
from ui.parts import QUICK, QUIET, SAVE, html
from ui.uploads import EXAMPLES, example
from ui.widgets import PhotoStrip, combobox, photo_strip

GONE = "Photos that you had added are no longer on the server: add them again."
MOST_LETTERS = 200  # of a class that a visitor types
LINGER = 30.0  # seconds
FIRST_PHOTO = next(iter(EXAMPLES))

# gradio runs the listeners of one trigger one after another, each to its end. So what cancels is declared before what
# runs, and what runs hangs on `asked`, which changes after it.
STALE = "() => { zoo.answer().dataset.stale = '1'; return ''; }"
BUSY = "(...values) => { zoo.answer().dataset.busy = '1'; return values; }"
DONE = "(...values) => { delete zoo.answer().dataset.busy; return values; }"
ASK = "() => `changed ${Date.now()}`"
PRESS = "() => { zoo.scrollWhenAnswered(); return `pressed ${Date.now()}`; }"
STILL = "(before) => zoo.whenStill('{}', before)"
COPY = '<button type="button" data-copy>Copy</button>'
SET_OPACITY = "(share) => { zoo.setOpacity(share); }"


@dataclass
class Parts:
    """The components of the tab, in reading order."""

    photos: PhotoStrip
    model: gr.HTML
    facts: gr.HTML
    weights: gr.HTML
    method: gr.HTML
    target: gr.HTML
    against: gr.HTML
    layer: gr.HTML
    head: gr.HTML
    precision: gr.Radio
    signed: gr.Checkbox
    together: gr.Checkbox
    count: gr.Slider
    opacity: gr.Slider
    run: gr.Button
    stop: gr.Button
    problems: gr.HTML  # what is not as the address or the choice before says, until something is chosen
    status: gr.HTML
    strip: gr.HTML
    results: gr.HTML
    check: gr.Button
    faithful: gr.HTML
    multiples: multiples.Parts
    changes: changes.Parts
    zoo_code: gr.HTML
    client_code: gr.HTML
    address: gr.HTML
    asked: gr.Textbox  # its change starts an answer; not seen
    file: gr.JSON  # what a visitor saves; not seen

    @property
    def narrowed(self) -> list:
        """What an explanation can be narrowed to."""
        return [self.target, self.against, self.layer, self.head]

    @property
    def fitted(self) -> list:
        """What a change of weights changes."""
        return [self.facts, self.method, *self.narrowed]

    @property
    def choice(self) -> list:
        """The components of an answer.Choice, in the order of Choice.of."""
        how = [self.weights, self.method, *self.narrowed, self.precision, self.signed, self.together]
        return [self.photos.strip, *how, self.count, self.opacity]

    @property
    def said(self) -> list:
        """The parts of an answer.Said, in the order of its fields."""
        shown = [self.results, self.status, self.strip, self.faithful]
        return [*shown, self.zoo_code, self.client_code, self.address]


def layout() -> Parts:
    """Place the components."""
    with gr.Row(elem_classes="two"):
        with gr.Column(scale=0, min_width=320, elem_id="rail"):
            rail = _rail(choices.first_model())
        with gr.Column(elem_id="answer"):
            shown = _answer(choices.first_model())
    return Parts(**rail, **shown, asked=gr.Textbox(visible="hidden"), file=gr.JSON(visible="hidden"))


def _rail(first: str) -> dict[str, Any]:
    """The choices, in the order in which a person makes them."""
    photos = photo_strip("photos", [example(FIRST_PHOTO)])
    architecture = first.partition(".")[0]
    model = combobox("Model", "model", choices.MODELS, architecture, placeholder="Search all models", width=440)
    told = html(facts.facts(first), "facts")
    weights = combobox("Weights", "weights", choices.weights(first), first, width=360)
    fold = '<button type="button" aria-expanded="false" aria-controls="explanation">Explanation</button>'
    html(fold, "fold", "zoo.fold(element)")
    with gr.Column(elem_id="explanation"):
        method = combobox("Explanation", "method", choices.every_method(), "grad_cam", width=420)
        with gr.Row():
            names = choices.classes(first)
            told_class: dict[str, Any] = dict(optional=True, free=True, width=280)
            target = combobox("Class", "class", names, placeholder="first prediction", **told_class)
            against = combobox("Compared with", "against", names, placeholder="nothing", **told_class)
        with gr.Accordion("Advanced", open=False, elem_id="advanced"):
            advanced = _advanced()
    with gr.Row(elem_id="go"):
        run = gr.Button("Classify", variant="primary", elem_id="run")
        stop = gr.Button("Stop", elem_id="stop", min_width=72, scale=0)
    return dict(
        photos=photos, model=model, facts=told, weights=weights, method=method, target=target, against=against,
        run=run, stop=stop, **advanced,
    )  # fmt: skip


def _advanced() -> dict[str, Any]:
    with gr.Row():
        layer = combobox("Layer", "layer", [choices.LAST_LAYER], choices.LAST, width=280)
        head = combobox("Head", "head", [choices.ALL_HEADS], choices.MEAN)
    return dict(
        layer=layer,
        head=head,
        precision=gr.Radio(
            list(engine.PRECISIONS),
            value=engine.PRECISIONS[0],
            label="Precision of the guesses",
            elem_id="precision",
            info="bfloat16 is faster and less exact; how far the outputs move is said.",
            buttons=[],
        ),
        signed=gr.Checkbox(label="Signed: show evidence against, too", elem_id="signed"),
        together=gr.Checkbox(label="Common colour scale for all photos", elem_id="together"),
        count=gr.Slider(1, answer.MOST_CLASSES, 5, step=1, label="Classes listed", elem_id="count", buttons=[]),
        opacity=gr.Slider(0, 1, link.OPACITY, step=0.05, label="Opacity of the map", elem_id="opacity", buttons=[]),
    )


def _answer(first: str) -> dict[str, Any]:
    """The answer, and below it what may be asked about it."""
    problems = html("", "problems")
    status = gr.HTML(
        "", elem_id="status", apply_default_css=False, html_template='<div role="status">${value}</div>',
        js_on_load="zoo.buttons(element, trigger) // 'select'",
    )  # fmt: skip
    strip = html(facts.strip(first, {}), "strip", "zoo.buttons(element, trigger) // 'select'")
    waiting = cards.waiting(FIRST_PHOTO, EXAMPLES[FIRST_PHOTO])
    results = html(waiting, "results", "zoo.results(element, trigger, watch) // 'select' 'download' 'edit'")
    with gr.Column(elem_classes="sheet", elem_id="faithfulness"):
        with gr.Row(elem_classes="head"):
            html("<h2>How faithful is this map?</h2>", "faithful-title")
            check = gr.Button("Check", size="sm", scale=0, min_width=88, elem_id="check")
        faithful = html("", "faithful")
    many, different = multiples.layout(), changes.layout()
    with gr.Row(elem_classes="panels"):
        with gr.Column(elem_classes="sheet", min_width=320):
            html("<h2>Python, with zoo and explain</h2>", "zoo-title")
            zoo_code = code("zoo-code")
        with gr.Column(elem_classes="sheet", min_width=320):
            html("<h2>Python, through this page</h2>", "client-title")
            client_code = code("client-code")
    with gr.Column(elem_classes="sheet"):
        html("<h2>Link</h2>", "link-title")
        box = '<input readonly aria-label="Link to this choice">'
        hint = "Model and explanation, and example photos; your own photos stay with you."
        address = gr.HTML(
            "", elem_id="link", apply_default_css=False, js_on_load="zoo.linkBox(element, props, watch)",
            html_template=f'<div class="code">{COPY}{box}</div><p class="how">{hint}</p>',
        )  # fmt: skip
    return dict(
        problems=problems, status=status, strip=strip, results=results, check=check, faithful=faithful,
        multiples=many, changes=different, zoo_code=zoo_code, client_code=client_code, address=address,
    )  # fmt: skip


def code(name: str) -> gr.HTML:
    """A program with a button that copies it."""
    template = f'<div class="code">{COPY}<pre tabindex="0"><code></code></pre></div>'
    return gr.HTML(
        "", elem_id=name, apply_default_css=False, html_template=template, js_on_load="zoo.code(element, props, watch)"
    )


def wire(p: Parts, demo: gr.Blocks) -> None:
    """Connect events to handlers."""
    running = _wire_jobs(p)
    starts = [part.input for part in (p.photos.strip, p.model, p.weights, p.method, *p.narrowed)]
    starts += [
        p.precision.input,
        p.signed.input,
        p.together.input,
        p.count.input,
        p.run.click,
        p.results.select,
        p.status.select,
    ]
    gr.on(starts, None, None, p.problems, cancels=running, js=STALE, **QUICK)
    asks = [part.input for part in (p.photos.strip, *p.narrowed, p.precision, p.signed, p.together)]
    gr.on(asks, None, None, p.asked, js=ASK, **QUICK)
    p.count.input(None, p.asked, p.asked, js=STILL.format("count"), **QUICK)
    p.run.click(None, None, p.asked, js=PRESS, **QUICK)
    ask: dict[str, Any] = dict(fn=None, inputs=None, outputs=p.asked, js=ASK, **QUICK)
    kept, everything = [p.method, p.target, p.against], [p.weights, *p.fitted]
    # In the usual mode, what is chosen while the server still works on the choice before would never be sent.
    last: dict[str, Any] = dict(trigger_mode="always_last", **QUICK)
    p.model.input(choose_model, [p.model, *kept], [*everything, p.problems], **last).then(**ask)
    p.weights.input(choose_checkpoint, [p.weights, *kept], [*p.fitted, p.problems], **last).then(**ask)
    p.method.input(choose_method, [p.weights, p.method], [p.layer, p.head], **last).then(**ask)
    p.status.select(random_weights, [p.weights, *kept], [*everything, p.problems], **last).then(**ask)
    p.results.select(pick, p.weights, [p.target, p.asked], **last)
    p.results.edit(set_truth, p.photos.strip, p.photos.strip, **last).then(**ask)
    p.opacity.change(None, p.opacity, None, js=SET_OPACITY, **QUICK)
    p.stop.click(None, None, None, cancels=running, **QUICK)
    p.stop.click(stopped, [p.weights, p.precision, p.faithful], [p.status, p.strip, p.faithful], js=DONE, **QUICK)
    rest = [p.photos.strip, p.precision, p.signed, p.together, p.opacity, p.problems, p.asked]
    kept = f"() => [zoo.photos.kept('{p.photos.strip.elem_id}')]"
    demo.load(restore, p.photos.strip, [p.model, *everything, *rest], js=kept, **QUICK)


def wire_opening(p: Parts, chosen: gr.Textbox, tabs: gr.Tabs) -> None:
    """Show a model here when the text that begins with its name changes."""
    everything = [tabs, p.model, p.weights, *p.fitted, p.problems]
    opened = chosen.change(open_model, [chosen, p.method, p.target, p.against], everything, **QUICK)
    opened.then(None, None, p.asked, js=ASK, **QUICK)


def _wire_jobs(p: Parts) -> list:
    """Connect what starts a job; returns the events that can be cancelled."""
    # In the usual mode, a change that comes while an answer is being cancelled would never be sent.
    mode: dict[str, Any] = dict(trigger_mode="multiple", js=BUSY)
    answering = p.asked.change(answer.classify, [p.asked, *p.choice], p.said, **mode, **QUIET)
    longer = p.strip.select(figures.measure, [p.weights, p.precision], p.strip, js=BUSY, **QUIET)
    checking = p.check.click(figures.evaluate, p.choice, p.faithful, js=BUSY, **QUIET)
    many = p.multiples
    layers = many.layers.click(multiples.all_layers, p.choice, many.shown, **mode, **QUIET)
    heads = many.heads.click(multiples.all_heads, p.choice, many.shown, **mode, **QUIET)
    altered, sliders = p.changes, p.changes.sliders
    gr.on([slider.input for slider in sliders], None, altered.moved, altered.moved, js=STILL.format("photo"), **QUICK)
    changing = altered.moved.change(changes.changed, [*sliders, *p.choice], altered.shown, **mode, **QUIET)
    altered.reset.click(changes.put_back, None, [*sliders, altered.shown], **QUICK)
    for job in (answering, longer, checking, layers, heads, changing):
        job.then(None, js=DONE, **QUICK)
    after: dict[str, Any] = dict(trigger_mode="multiple", **QUIET)
    timing = answering.then(figures.time_model, [p.weights, p.precision], p.strip, **after)
    answering.then(linger, concurrency_limit=None, **after)
    saved = p.results.download(save.save, None, [p.file, p.status], **QUIET)
    saved.then(None, p.file, None, js=SAVE, **QUICK)
    return [answering, timing, longer, checking, layers, heads, changing]


def restore(kept: Any, request: gr.Request) -> list:
    """Show the choice in the address, or else the best model that needs no network, and an example photo.

    `kept` is what the strip held, if the page is loaded again.
    """
    asked = link.read(request, choices.first_model())
    wanted = asked.request
    model, method = wanted.model, choices.fitting_method(wanted.model, wanted.method)
    told = choices.refusal(model, wanted.method, method)
    problems = asked.problems + ([told] if told else [])
    layer, head, told = choices.in_range(model, method, wanted.layer, wanted.head)
    problems += told
    problems += choices.unknown_classes(model, wanted.target, wanted.contrast)
    *shown, _, _ = _show_model(model, method, wanted.target, wanted.contrast)
    shown += choose_method(model, method, layer, head)
    mine = uploads.still_here(kept)
    if isinstance(kept, list) and len(mine) < len(kept):
        problems.append(GONE)
    photos = mine or [example(name) for name in asked.photos or [FIRST_PHOTO]]
    rest = [
        wanted.precision,
        wanted.signed,
        wanted.together,
        asked.opacity,
        cards.notice(*problems),
        answer.again(answer.CHANGED),
    ]
    return [model.partition(".")[0], *shown, photos, *rest]


def choose_model(chosen: str, method: str, target: str, against: str) -> list:
    """An architecture, with the weights that are offered first, or a checkpoint."""
    model = chosen if "." in chosen else choices.best_weights(chosen)
    return [*_show_model(model, method, target, against), _replaced(model, method)]


def open_model(chosen: str, method: str, target: str, against: str) -> list:
    """A model that was chosen in another tab, and this tab."""
    model = chosen.partition(" ")[0]
    shown = choose_model(model, method, target, against)
    return [gr.Tabs(selected="explore"), model.partition(".")[0], *shown]


def random_weights(model: str, method: str, target: str, against: str) -> list:
    """The same architecture without its published weights: it needs no network."""
    architecture = model.partition(".")[0]
    return [*_show_model(architecture, method, target, against), _replaced(architecture, method)]


def _show_model(model: str, method: str, target: str, against: str) -> list:
    return [gr.HTML(value=model, rows=choices.weights(model)), *choose_weights(model, method, target, against)]


def choose_checkpoint(model: str, method: str, target: str, against: str) -> list:
    """Other weights of the same architecture."""
    return [*choose_weights(model, method, target, against), _replaced(model, method)]


def _replaced(model: str, method: str) -> str:
    """Why another explanation is shown than was chosen before, if the model does not allow that."""
    told = choices.refusal(model, method, choices.fitting_method(model, method))
    return cards.notice(told) if told else ""


def choose_weights(model: str, method: str, target: str, against: str) -> list:
    """Facts, the explanations that the model allows, its classes, layers and heads. What still fits is kept."""
    kept, names = choices.fitting_method(model, method), choices.classes(model)
    return [
        facts.facts(model),
        gr.HTML(value=kept, rows=choices.methods(model)),
        *(gr.HTML(value=choices.fitting_class(model, text), rows=names) for text in (target, against)),
        *choose_method(model, kept),
    ]


def choose_method(model: str, method: str, layer: str = choices.LAST, head: str = choices.MEAN) -> list:
    """The layers and heads that a method can show."""
    return [
        gr.HTML(value=layer, rows=choices.layers(model, method)),
        gr.HTML(value=head, rows=choices.heads(model, method)),
    ]


async def linger() -> None:
    """Keep the page's stream of events open for a while after an answer.

    gradio closes it with the last job. If the next one begins in the same moment, the browser takes it for open still,
    and does not hear of that job: it happened on slow networks, and where an answer cancels a timing.
    """
    await asyncio.sleep(LINGER)


def stopped(model: str, precision: str, faithful: str) -> list:
    """What stands in the place of a job's progress when the job was stopped."""
    checking = cards.is_progress(faithful)
    strip = facts.strip(model, work.the_engine().timed(engine.Request(model, precision=precision)))
    return [cards.notice("Stopped."), strip, "" if checking else gr.skip()]


def pick(model: str, event: gr.EventData) -> list:
    """A class selected among the predictions, or a place selected in a photo."""
    picked = event._data
    if "class" in picked:
        return [choices.class_value(model, int(picked["class"])), answer.again(answer.PRESSED)]
    where = (picked["photo"], picked["down"], picked["across"])
    return [gr.skip(), answer.again(answer.PLACE, *where)]


def set_truth(photos: list[dict], event: gr.EventData) -> list[dict]:
    """Say what class a photo really shows."""
    number, truth = event._data["photo"], clean(str(event._data["truth"])[:MOST_LETTERS])
    return [photo | {"truth": truth} if i == number else photo for i, photo in enumerate(photos)]
