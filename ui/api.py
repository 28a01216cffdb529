"""Endpoints for other programs: /models, /classify and /latency. They are not visible on the page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import gradio as gr
from gradio.events import api

import engine
from engine import Job, Look, Looks, Request, Timing
from ui import work


def layout() -> None:
    """Place the endpoints. A photo needs a component that receives it, so /classify has hidden ones."""
    api(models, api_name="models", queue=False)
    api(latency, api_name="latency")
    photo = gr.Image(type="filepath", label="Photo", visible=False)
    model = gr.Textbox(label="Model", visible=False)
    result = gr.JSON(visible=False)
    gr.Button(visible=False).click(classify, [photo, model], result, api_name="classify")


def models(query: str = "") -> list[str]:
    """Architectures that match a query: words, a glob, or a regular expression between slashes."""
    with plain_errors():
        return engine.search(query)


async def classify(photo: str, model: str) -> list[dict[str, Any]]:
    """The five best guesses of a checkpoint for a photo: index, label and probability of each."""
    with plain_errors():
        looks = await engine.answer(work.ENGINE, Job("look", Request(model), work.read([photo])))
        assert isinstance(looks, Looks)
        (look,) = looks.photos
        if not isinstance(look, Look):
            raise engine.EngineError(look)
        return [asdict(guess) for guess in look.guesses]


async def latency(model: str, seconds: float = 2.0) -> dict:
    """Time a checkpoint or architecture on the server: median and 90th percentile in milliseconds, and the method."""
    with plain_errors():
        timing = await engine.answer(work.ENGINE, Job("time", Request(model), seconds=min(seconds, 10.0)))
        assert isinstance(timing, Timing)
        return asdict(timing) | {"method": timing.sentence()}


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show an EngineError as its sentence alone, without a traceback."""
    try:
        yield
    except engine.EngineError as error:
        raise gr.Error(str(error), print_exception=False) from error
