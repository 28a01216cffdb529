"""The engine's calls, each where it belongs: downloads outside the device, computing on it."""

import gradio as gr
from PIL import Image

import engine
import zoo
from explain import Progress, silent
from explain.faithfulness import Evaluation
from ui.device import on_device
from zoo.latency import Timing

_STOPPED: set[str | None] = set()  # visitors who asked for the end of what runs for them


class StoppedError(Exception):
    """The visitor pressed Stop."""


def stop(visitor: gr.Request) -> None:
    _STOPPED.add(visitor.session_hash)


def steps(session: str | None, progress: gr.Progress, doing: str = "Looking") -> Progress:
    """Show the visitor how far a long work is, and end it when that visitor pressed Stop."""
    _STOPPED.discard(session)

    def told(done: int, total: int) -> None:
        if session in _STOPPED:
            _STOPPED.discard(session)
            raise StoppedError
        progress(done / total, desc=f"{doing}: {done} of {total}")

    return told


def fetch(model: str, progress: gr.Progress | None = None) -> None:
    """Have the weights on this machine before the device is asked for; show how the download goes."""
    if engine.is_local(model):
        return

    def told(done: int, total: int) -> None:
        if progress:
            progress(done / total if total else 0.0, desc=f"Downloading {max(done, total) / 1e6:.0f} MB")

    zoo.download(engine.recipe(model), told)


@on_device(seconds=30)
def look(request: engine.Request, photos: list[Image.Image], progress: Progress = silent) -> list[engine.Look]:
    return engine.look(request, photos, progress)


@on_device(seconds=60)
def evaluate(request: engine.Request, photos: list[Image.Image], progress: Progress = silent) -> Evaluation:
    return engine.evaluate(request, photos, progress)


@on_device(seconds=20)
def time_it(model: str, seconds: float) -> Timing:
    return engine.time_it(model, seconds)
