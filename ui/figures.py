"""Measure what stands beside an answer: the latency of the model, and the faithfulness of the map."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

import engine
from engine import Evaluation, Job, Request, Timing
from ui import cards, facts, uploads, work
from ui.answer import Choice
from ui.evaluation import evaluation

SECONDS = 10.0  # of an asked measurement


async def time_model(model: str, precision: str) -> AsyncGenerator[Any, None]:
    """Measure the latency when the device is idle, if it is not known yet and needs no download."""
    async for strip in _timed(model, precision, "fast", None):
        yield strip


async def measure(model: str, precision: str, event: gr.EventData) -> AsyncGenerator[Any, None]:
    """Measure the latency by the way that was selected, now and for longer."""
    async for strip in _timed(model, precision, str(event._data["value"]), SECONDS):
        yield strip


async def _timed(model: str, precision: str, way: str, seconds: float | None) -> AsyncGenerator[Any, None]:
    engine.recipe(model if isinstance(model, str) else "")  # raises for what is no model
    yield gr.skip()  # gradio would empty the strip if there were nothing to show
    request = Request(model, precision=str(precision))
    try:
        if seconds is None and (way in work.the_engine().timed(request) or not engine.is_local(model)):
            return
        job = Job("time", request, way=way, seconds=seconds, visitor=work.visitor())
        async with aclosing(work.the_engine().run(job)) as events:
            async for event in events:
                if isinstance(event, Timing):
                    yield facts.strip(model, work.the_engine().timed(request))
                else:
                    yield facts.strip(model, {}, work.doing(event)[0]) if seconds else gr.skip()
    except engine.EngineError as error:
        yield facts.strip(model, {}, str(error))


async def evaluate(photos: Any, *values: Any) -> AsyncGenerator[Any, None]:
    """Evaluate the map on the photos that can be read, compared with maps that know nothing about the model."""
    choice = Choice.of(photos, *values)
    try:
        files = uploads.read(choice.photos)
        job = Job("evaluate", choice.request, files, visitor=work.visitor())
        async with aclosing(work.the_engine().run(job)) as events:
            async for event in events:
                if isinstance(event, Evaluation):
                    names = [file.name for file in files]
                    yield evaluation(event, choice.request.model, choice.request.method, names)
                else:
                    yield cards.progress(*work.doing(event))
    except engine.EngineError as error:
        yield cards.notice(str(error))
