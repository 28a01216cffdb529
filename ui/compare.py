"""The tab that compares: two to four models, or explanations of one model, on the same photos, side by side."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np

import engine
from engine import Job, Look, Request, Timing
from engine.jobs import NO_PHOTO
from engine.tiles import Tile, group, tile
from ui import api, cards, choices, sheet, uploads, work
from ui.answer import truth
from ui.parts import QUICK, SAVE, Outputs, busy, done, html, live
from ui.sheet import Head
from ui.widgets import PhotoStrip, combobox, photo_strip

MODELS, EXPLANATIONS = "Models", "Explanations of one model"
MOST = api.COLUMNS
# Those of the first tab, until a person has chosen others here; in the browser, so that they are there at once.
TAKE_PHOTOS = "(own, photos, mine) => [own || !photos.length ? mine : photos]"
FEW = "Choose two to four {} that differ."
FIRST_METHODS = "grad_cam", "layer_cam", "saliency", ""
HINT = '<p class="how">Choose what to compare, then press Compare.</p>'


@dataclass
class Parts:
    """The components of the tab, in reading order."""

    photos: PhotoStrip
    kind: gr.Radio
    of_models: gr.Column
    models: list[gr.HTML]
    method: gr.HTML
    of_methods: gr.Column
    model: gr.HTML
    methods: list[gr.HTML]
    common: gr.Checkbox
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    sheet: gr.HTML
    agreement: gr.HTML
    plot: gr.HTML
    file: gr.JSON  # what a visitor saves; this and the next are not seen
    own: gr.Textbox  # whether a person has chosen photos in this tab

    @property
    def choice(self) -> list:
        """The inputs of `compare`, in its order."""
        return [self.photos.strip, self.common, self.kind, self.method, self.model, *self.models, *self.methods]

    @property
    def shown(self) -> list:
        """The outputs of `compare`, in the order of Shown."""
        return [self.status, self.sheet, self.agreement, self.plot, self.file]


def layout() -> Parts:
    """Place the components."""
    first = first_models()
    with gr.Column(elem_id="compare"):
        with gr.Row(elem_classes="two"):
            with gr.Column(scale=0, min_width=320, elem_id="compared-photos"):
                photos = photo_strip("compared", [])
            with gr.Column(elem_id="columns"):
                kind = gr.Radio([MODELS, EXPLANATIONS], value=MODELS, label="Compare", elem_id="kind", buttons=[])
                with gr.Column() as of_models:
                    models = _row("Model", "models", choices.MODELS, first, 440)
                    ways = choices.every_method()
                    method = combobox("Explanation", "of-all", ways, "grad_cam", optional=True, width=420)
                with gr.Column(visible=False) as of_methods:
                    model = combobox("Model", "of-one", choices.MODELS, first[0], width=440)
                    methods = _row("Explanation", "methods", ways, FIRST_METHODS, 420)
                common = gr.Checkbox(True, label="Common colour scale for maps of one explanation", elem_id="common")
                with gr.Row(elem_id="go-compare"):
                    run = gr.Button("Compare", variant="primary", elem_id="run-compare")
                    stop = gr.Button("Stop", elem_id="stop-compare", min_width=72, scale=0)
        status = live("compare-status")
        shown = html(HINT, "sheet", "zoo.buttons(element, trigger) // 'select'")
        with gr.Row(elem_classes="panels"):
            with gr.Column(min_width=320):
                agreement = html("", "agreement")
            with gr.Column(min_width=320):
                plot = html("", "against")
    return Parts(
        photos, kind, of_models, models, method, of_methods, model, methods, common, run, stop, status, shown,
        agreement, plot, gr.JSON(visible="hidden"), gr.Textbox(visible="hidden"),
    )  # fmt: skip


def first_models() -> list[str]:
    """Three architectures to begin with, which need no network: those of the most accurate checkpoints."""
    return list(dict.fromkeys(row.architecture for row in engine.on_this_machine()))[:3]


def _row(label: str, name: str, rows: Any, values: Sequence[str], width: int) -> list[gr.HTML]:
    """Four comboboxes; the last two may stay empty."""
    given = [*values, *[""] * MOST][:MOST]
    with gr.Row(elem_classes="four"):
        return [
            combobox(f"{label} {i}", f"{name}-{i}", rows, value, optional=i > 2, width=width, hint=False)
            for i, value in enumerate(given, 1)
        ]


def _name(chosen: str) -> str:
    """A checkpoint, or the first one of an architecture."""
    return chosen if "." in chosen else choices.best_weights(chosen)


def wire(p: Parts, photos: PhotoStrip, tab: gr.Tab) -> None:
    """Connect events to handlers. Opening the tab takes over the photos of the first one, `photos`."""
    job: dict[str, Any] = dict(fn=compare, inputs=p.choice, outputs=p.shown, **busy("compare"))
    running: list = [p.run.click(**job), p.common.input(**job)]
    for each in running:
        each.then(None, js=done("compare"), **QUICK)
    p.stop.click(None, None, None, cancels=running, **QUICK)
    p.stop.click(lambda: cards.notice("Stopped."), None, p.status, js=done("compare"), **QUICK)
    p.kind.input(show_kind, [p.kind, p.model, *p.methods], [p.of_models, p.of_methods, *p.methods], **QUICK)
    p.model.input(choose_model, [p.model, *p.methods], p.methods, **QUICK)
    p.sheet.select(None, p.file, None, js=SAVE, **QUICK)
    p.photos.strip.input(None, None, p.own, js="() => 'yes'", **QUICK)
    tab.select(None, [p.own, photos.strip, p.photos.strip], p.photos.strip, js=TAKE_PHOTOS, **QUICK)


def show_kind(kind: str, model: str, *methods: str) -> list:
    """What is chosen for a comparison of models, or of explanations."""
    shown = [gr.Column(visible=kind != EXPLANATIONS), gr.Column(visible=kind == EXPLANATIONS)]
    return [*shown, *choose_model(model, *methods)]


def choose_model(model: str, *chosen: str) -> list:
    """The explanations that a model allows; those that it does not are dropped."""
    rows = choices.methods(_name(model))
    allowed = {row[0] for row in rows if not row[6]}
    return [gr.HTML(value=method if method in allowed else "", rows=rows) for method in chosen]


@dataclass(frozen=True)
class Shown(Outputs):
    """What a comparison puts on the page, in the order of Parts.shown."""

    status: str | None = None
    sheet: str | None = None
    agreement: str | None = None
    plot: str | None = None
    file: dict[str, str] | None = None


def asked(kind: Any, method: Any, model: Any, *chosen: Any) -> list[Head]:
    """The columns that the page asks for, each once. Raises EngineError for less than two, and for unknown names."""
    models, methods = ([str(one) for one in part if one] for part in (chosen[:MOST], chosen[MOST:]))
    by_method = kind == EXPLANATIONS
    pairs = [(str(model), one) for one in methods] if by_method else [(one, str(method or "")) for one in models]
    requests = list(dict.fromkeys(Request(_name(name), way) for name, way in pairs))
    if not 2 <= len(requests) <= MOST:
        raise engine.EngineError(FEW.format("explanations" if by_method else "models"))
    for request in requests:
        engine.recipe(request.model)
    return [Head(request, by_method, _latency(request)) for request in requests]


def _latency(request: Request) -> float | None:
    """Milliseconds of the accelerated model on this machine, if it was timed."""
    kept = work.the_engine().timed(Request(request.model)).get("fast")
    return kept.timing.median_ms if kept else None


async def compare(photos: Any, common: Any, *values: Any) -> AsyncGenerator[list, None]:
    """Look at every photo with every column, cell by cell; then time the models that were not timed yet."""
    named, visitor = uploads.named(photos), work.visitor()
    try:
        heads, files = asked(*values), uploads.read(named)
        if not files:
            raise engine.EngineError(NO_PHOTO)
    except engine.EngineError as error:
        yield Shown(status=cards.notice(str(error))).outputs()
        return
    yield Shown(sheet="", agreement="", plot="", file={}).outputs()
    found = Comparison(heads, named, bool(common))
    with work.NEWEST.turn(f"compare {visitor}") as wanted:
        async with aclosing(found.fill(files)) as steps:
            async for status, text in steps:
                if not wanted():
                    return
                yield Shown(status=status, sheet=text).outputs()
        yield (await asyncio.to_thread(found.whole)).outputs()
        if not found.untimed:
            return
        async with aclosing(found.time(visitor)) as steps:
            async for status in steps:
                if not wanted():
                    return
                yield Shown(status=status).outputs()
        yield (await asyncio.to_thread(found.whole)).outputs()


class Comparison:
    """A table that fills up."""

    def __init__(self, heads: list[Head], photos: list[uploads.Photo], common: bool):
        self.heads, self.photos, self.common = heads, photos, common
        self.columns: list[list[Look | str]] = [[] for _ in heads]
        self.problems: list[str] = []  # sentences on models that could not be timed
        rows = [engine.recipe(head.request.model) for head in heads]
        self.truths = [[truth(photo, row) for photo in photos] for row in rows]

    @property
    def names(self) -> list[str]:
        return [photo["name"] for photo in self.photos]

    async def fill(self, files: Sequence[engine.Photo]) -> AsyncGenerator[tuple[str, str | None], None]:
        """Look, photo by photo; yields what is being done, and the table whenever a cell was added."""
        text, count = sheet.bar(False) + sheet.opening(self.heads), len(files) * len(self.heads)
        for number, file in enumerate(files):
            text += sheet.row(file.name)
            for column, head in zip(self.columns, self.heads, strict=True):
                done = sum(map(len, self.columns))
                async with aclosing(work.looked(head.request, file)) as events:
                    async for event in events:
                        if isinstance(event, Look | str):
                            column.append(event)
                        else:
                            doing, share = work.doing(event)
                            told = f"{done + 1} of {count}: {head.title}, {file.name}. {doing}"
                            yield cards.progress(told, (done + (share or 0.0)) / count), None
                text += sheet.cell(column[number], await asyncio.to_thread(_small, column[number]))
                yield cards.progress(f"{done + 1} of {count}", (done + 1) / count), text

    @property
    def untimed(self) -> list[Head]:
        """The columns whose model works here and was not timed yet."""
        columns = zip(self.heads, self.columns, strict=True)
        working = [head for head, column in columns if any(isinstance(look, Look) for look in column)]
        return [head for head in working if _latency(head.request) is None]

    async def time(self, visitor: str | None) -> AsyncGenerator[str, None]:
        """Time the models that were not timed yet, when the device is idle; yields what is being done."""
        for head in self.untimed:
            job = Job("time", Request(head.request.model), visitor=visitor)
            try:
                async with aclosing(work.the_engine().run(job)) as events:
                    async for event in events:
                        if not isinstance(event, Timing):
                            yield cards.progress(f"{head.title}: {work.doing(event)[0]}", None)
            except engine.EngineError as error:
                self.problems.append(f"{head.title} cannot be timed: {error}")

    def whole(self) -> Shown:
        """The finished table on its colour scale, and what can be said about all of it."""
        self.heads = [replace(head, ms=_latency(head.request)) for head in self.heads]
        scales, several = self._scales(), not self.heads[0].by_method
        text = sheet.bar(True, scales[0] if several else None) + sheet.opening(self.heads)
        for number, photo in enumerate(self.names):
            looks, known = [column[number] for column in self.columns], [column[number] for column in self.truths]
            marks = sheet.marks(looks, known, several)
            text += sheet.row(photo)
            for look, scale, mark in zip(looks, scales, marks, strict=True):
                text += sheet.cell(look, _small(look, scale), mark)
        together = self.heads, self.names, self.columns
        requests = [head.request for head in self.heads]
        content = engine.comparison_csv(self.names, requests, self.columns, self.truths).encode()
        return Shown(
            status=cards.notice(*self.problems),
            sheet=text,
            agreement=sheet.agreement(*together) + (sheet.winners(*together, self.truths) if several else ""),
            plot=sheet.plot(self.heads, work.known_lines()) if several else "",
            file={"name": "comparison.csv", "content": base64.b64encode(content).decode()},
        )

    def _scales(self) -> list[list[np.ndarray]]:
        """The maps that each column shares its colour scale with: those of the same explanation, as units differ."""
        by_method: dict[str, list[np.ndarray]] = {}
        for head, column in zip(self.heads, self.columns, strict=True):
            by_method.setdefault(head.request.method, []).extend(
                group(look for look in column if isinstance(look, Look))
            )
        return [by_method[head.request.method] if self.common else [] for head in self.heads]


def _small(look: Look | str, scale: list | None = None) -> Tile | None:
    return tile(look, scale) if isinstance(look, Look) else None
