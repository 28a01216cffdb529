"""What the page costs beside what it shows: ratios to a Gradio app that does nothing, measured in turns.

    python -m tools.overhead                      a minute or two

Two figures. The round trip of /classify for a new photo, without what the engine takes for the same look, over the
round trip of an app that takes the same photo and answers nothing. And the time from the start of the page's process
to its first response, over the time that `import gradio` takes alone.
"""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gradio_client import Client, handle_file

from engine import Job, LocalEngine, Photo, Request
from tools.soak import MODELS, serve
from ui.uploads import EXAMPLES

NOTHING = """
import gradio as gr
from gradio.data_classes import FileData
def nothing(photo: FileData) -> dict:
    return {}
with gr.Blocks(analytics_enabled=False) as demo:
    gr.api(nothing, api_name="nothing")
demo.launch(ssr_mode=False, quiet=True)
"""
MODEL = MODELS[0]
ROUNDS, STARTS = 40, 5
REQUEST = Request(MODEL, method="")


def seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def round_trips(folder: Path) -> tuple[float, float, float]:
    """Medians in seconds: /classify, the same look by the engine alone, and the app that does nothing."""
    engine, file, times = LocalEngine(), folder / "photo.jpg", ([], [], [])
    data = next(iter(EXAMPLES.values())).read_bytes()
    options: dict = dict(verbose=False, analytics_enabled=False, download_files=str(folder))
    with serve(folder / "page") as (page, _), serve(folder / "nothing", "-c", NOTHING) as (empty, _):
        ours, theirs = Client(page, **options), Client(empty, **options)
        for i in range(ROUNDS + 3):
            photo = data + random.randbytes(8)  # after the end of a JPEG: the same image, and no cache knows it
            file.write_bytes(photo)
            found = (
                seconds(lambda: ours.predict(handle_file(file), MODEL, api_name="/classify")),
                seconds(lambda photo=photo: engine.perform(Job("look", REQUEST, (Photo("photo.jpg", photo),)))),
                seconds(lambda: theirs.predict(handle_file(file), api_name="/nothing")),
            )
            for kept, taken in zip(times, found, strict=True):
                kept.extend([taken] if i >= 3 else [])
    page_s, engine_s, nothing_s = map(statistics.median, times)
    return page_s, engine_s, nothing_s


def starts(folder: Path) -> tuple[float, float]:
    """Medians in seconds: from the start of the page's process to its first response, and `import gradio` alone."""
    first, imported = [], []
    for i in range(STARTS + 1):
        begun = time.perf_counter()
        with serve(folder / f"start{i}"):
            first.append(time.perf_counter() - begun)
        imported.append(seconds(lambda: subprocess.run([sys.executable, "-c", "import gradio"], check=True)))
    return statistics.median(first[1:]), statistics.median(imported[1:])


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        page, alone, nothing = round_trips(Path(name))
        first, imported = starts(Path(name))
    told = f"/classify {1000 * page:.0f} ms, the engine alone {1000 * alone:.0f} ms, nothing {1000 * nothing:.0f} ms"
    print(f"round trips, medians of {ROUNDS}: {told}; overhead over nothing {(page - alone) / nothing:.2f}")
    told = f"first response {first:.2f} s, import gradio {imported:.2f} s"
    print(f"starts, medians of {STARTS}: {told}; ratio {first / imported:.2f}")


if __name__ == "__main__":
    main()
