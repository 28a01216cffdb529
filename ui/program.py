"""What other programs may call: /models, /classify and /latency. Nothing of it is seen on the page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import gradio as gr
from gradio.events import api

import engine
import zoo
from ui import work
from ui.device import QUEUE
from zoo.photo import open_photo


def layout() -> None:
    """Place the endpoints. A photo needs a component that receives it, so /classify has hidden ones."""
    api(models, api_name="models", queue=False)
    api(latency, api_name="latency", **QUEUE)
    photo = gr.Image(type="filepath", label="Photo", visible=False)
    model = gr.Textbox(label="Model", visible=False)
    result = gr.JSON(visible=False)
    gr.Button(visible=False).click(classify, [photo, model], result, api_name="classify", **QUEUE)


def models(query: str = "") -> list[str]:
    """Architectures for a query: words, a glob, or a regular expression between slashes."""
    with plain_errors():
        return engine.search(query)


def classify(photo: str, model: str) -> list[dict[str, Any]]:
    """The five best guesses of a checkpoint for a photo: index, label and probability of each."""
    with plain_errors():
        work.fetch(model)
        (look,) = work.look(engine.Request(model), [open_photo(photo)])
        return [asdict(guess) for guess in look.guesses]


def latency(model: str, seconds: float = 2.0) -> dict:
    """Time a checkpoint or architecture on the server: median and 90th percentile in milliseconds, and how."""
    with plain_errors():
        work.fetch(model)
        timing = work.time_it(model, min(seconds, 10.0))
        return asdict(timing) | {"method": timing.sentence()}


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a person can do something about into that sentence alone."""
    try:
        yield
    except (ValueError, KeyError, zoo.WeightsError, zoo.PhotoError) as error:
        raise gr.Error(str(error.args[0]), print_exception=False) from error
