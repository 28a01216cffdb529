"""The tab that measures: the latency of models while one thing is varied, with percentiles, throughput and memory."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr

import engine
from engine import Timing, sweep
from ui import cards, choices, curves, work
from ui.parts import QUICK, SAVE, busy, done, html, live
from ui.widgets import combobox

MOST = 4  # models
LEAST_SECONDS, SECONDS, MOST_SECONDS = 0.2, 1.0, 10.0  # of a point
NONE = "Choose a model to measure."
HINT = '<p class="how">Weights are random unless a checkpoint is chosen: latency does not depend on them.</p>'


@dataclass
class Parts:
    """The components of the tab, in reading order."""

    models: list[gr.HTML]
    vary: gr.Radio
    values: gr.Textbox
    seconds: gr.Slider
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    curves: gr.HTML
    file: gr.JSON  # what a visitor saves; not seen


def layout() -> Parts:
    """Place the components."""
    kinds = [(title, name) for name, title in sweep.VARIED.items()]
    with gr.Column(elem_id="measure"):
        with gr.Row(elem_classes="four"):
            first = [choices.first_model().partition(".")[0], *[""] * (MOST - 1)]
            models = [
                combobox(f"Model {i}", f"measured-{i}", choices.MODELS, name, optional=i > 1, width=440, hint=False)
                for i, name in enumerate(first, 1)
            ]
        with gr.Row(elem_id="varied"):
            vary = gr.Radio(kinds, value="batch", label="Vary", elem_id="vary", buttons=[])
            values = gr.Textbox(_values("batch"), label="Values", elem_id="values", max_lines=1)
            seconds = gr.Slider(
                LEAST_SECONDS, MOST_SECONDS, SECONDS, step=0.1, label="Seconds a point", elem_id="seconds", buttons=[]
            )
        with gr.Row(elem_id="go-measure"):
            run = gr.Button("Measure latency", variant="primary", elem_id="run-measure")
            stop = gr.Button("Stop", elem_id="stop-measure", min_width=72, scale=0)
        status = live("measure-status")
        shown = html(HINT, "curves", "zoo.buttons(element, trigger) // 'select'")
    return Parts(models, vary, values, seconds, run, stop, status, shown, gr.JSON(visible="hidden"))


def _values(vary: str) -> str:
    return ", ".join(map(str, sweep.usual(vary)))


def wire(p: Parts) -> None:
    """Connect events to handlers."""
    chosen, shown = [p.vary, p.values, p.seconds, *p.models], [p.status, p.curves, p.file]
    running: list = [p.run.click(measure, chosen, shown, **busy("measure"))]
    running[0].then(None, js=done("measure"), **QUICK)
    p.stop.click(None, None, None, cancels=running, **QUICK)
    p.stop.click(lambda: cards.notice("Stopped."), None, p.status, js=done("measure"), **QUICK)
    p.vary.input(show_values, p.vary, p.values, **QUICK)
    p.curves.select(None, p.file, None, js=SAVE, **QUICK)


def show_values(vary: str) -> gr.Textbox:
    """The usual values of what is varied; formats have none."""
    return gr.Textbox(value=_values(vary), visible=vary != "format")


def asked(vary: Any, values: Any, models: Sequence[Any]) -> list[tuple[str, sweep.Point]]:
    """Every point of every model that the page asks for. Raises EngineError for what makes no sense."""
    names = list(dict.fromkeys(str(name) for name in models[:MOST] if name))
    if not names:
        raise engine.EngineError(NONE)
    settings = sweep.points(str(vary), sweep.numbers(str(values or "")))
    for name in names:
        engine.recipe(name)
    return [(name, point) for name in names for point in settings]


async def measure(vary: Any, values: Any, seconds: Any, *models: Any) -> AsyncGenerator[list, None]:
    """Time each model at each point; what failed says why in its row."""
    try:
        points = asked(vary, values, models)
    except engine.EngineError as error:
        yield [cards.notice(str(error)), gr.skip(), gr.skip()]
        return
    length, found = min(max(float(seconds), LEAST_SECONDS), MOST_SECONDS), list[sweep.Measurement]()
    visitor = work.visitor()
    with work.NEWEST.turn(f"measure {visitor}") as wanted:
        for name, point in points:
            async with aclosing(timed(point.job(name, length, visitor))) as events:
                async for event in events:
                    if not wanted():
                        return
                    if isinstance(event, Timing | str):
                        found.append((name, point, event))
                    else:
                        doing, share = work.doing(event)
                        told = f"{len(found) + 1} of {len(points)}: {name}, {point.label}. {doing}"
                        yield [cards.progress(told, (len(found) + (share or 0.0)) / len(points)), gr.skip(), gr.skip()]
            ended = len(found) == len(points)
            text = await asyncio.to_thread(curves.curves, vary, found, ended)
            content = base64.b64encode(sweep.sweep_csv(vary, found).encode()).decode()
            yield ["" if ended else gr.skip(), text, {"name": f"latency_{vary}.csv", "content": content}]


async def timed(job: engine.Job) -> AsyncGenerator[engine.Event | Timing | str, None]:
    """Run a timing: the engine's events, then the timing, or the sentence that says why there is none."""
    try:
        async with aclosing(work.the_engine().run(job)) as events:
            async for event in events:
                if isinstance(event, Timing | engine.Event):
                    yield event
    except engine.EngineError as error:
        yield str(error)
