"""The engine's calls, each where it belongs: downloads outside the device, computing on it."""

import gradio as gr
from PIL import Image

import engine
import zoo
from ui.device import on_device
from zoo.latency import Timing


def fetch(model: str, progress: gr.Progress | None = None) -> None:
    """Have the weights on this machine before the device is asked for; show how the download goes."""
    if engine.is_local(model):
        return

    def told(done: int, total: int) -> None:
        if progress:
            progress(done / total if total else 0.0, desc=f"Downloading {max(done, total) / 1e6:.0f} MB")

    zoo.download(engine.recipe(model), told)


@on_device(seconds=15)
def look(request: engine.Request, photos: list[Image.Image]) -> list[engine.Look]:
    return engine.look(request, photos)


@on_device(seconds=20)
def time_it(model: str, seconds: float) -> Timing:
    return engine.time_it(model, seconds)
