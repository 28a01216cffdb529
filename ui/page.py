"""The whole page: its tabs, each a module of ui/ that has `layout() -> Parts` and `wire`, and a help text."""

import argparse
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from engine import AT_ONCE, records, zerogpu
from engine.limit import SECONDS, VARIABLE
from ui import api, choices, compare, door, explore, link, measure, models, static, work
from ui.door import Blocks
from ui.theme import theme
from ui.widgets import CSS, HEAD

ASSETS = Path(__file__).parent / "assets"
TOP = "<h1>Vision Zoo</h1><p>Any image classifier: what it says, how fast, and why</p>"
HEAD_START = 1.0  # seconds in which the page may go out before torch keeps the interpreter busy
SCRIPT = f"<script>{(ASSETS / 'page.js').read_text()}</script>"

# The page asks no outside host for anything, keeps none of a visitor's photos, and is served by one process.
LAUNCH: dict[str, Any] = dict(
    theme=theme(),
    css_paths=[*CSS, ASSETS / "style.css"],
    head=HEAD + SCRIPT,
    favicon_path=ASSETS / "icon.svg",
    app_kwargs={"routes": [*static.ROUTES, *door.ROUTES], "exception_handlers": door.HANDLERS},
    ssr_mode=False,
    run_history=False,
    enable_monitoring=False,
    state_session_capacity=300,
    max_file_size="30mb",
    footer_links=["api", "settings"],
)


def build() -> gr.Blocks:
    """Lay out every tab and wire it."""
    with Blocks(title="Vision Zoo", analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as demo:
        gr.HTML(TOP, elem_id="top", apply_default_css=False)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Explore", id="explore"):
                first = explore.layout()
            with gr.Tab("Compare", id="compare") as beside:
                compared = compare.layout()
            with gr.Tab("Models", id="models") as table:
                listed = models.layout()
            with gr.Tab("Measure", id="measure"):
                measured = measure.layout()
            with gr.Tab("Help", id="help"):
                gr.Markdown((ASSETS / "help.md").read_text(), elem_id="help-text")
        api.layout()  # before the events, which would take the endpoints' names
        explore.wire(first, demo)
        compare.wire(compared, first.photos, beside)
        models.wire(listed, table)
        measure.wire(measured)
        explore.wire_opening(first, listed.explored, tabs)
    # The engine decides which job computes, and how many may wait. Gradio hands it twice as many as it takes, so it is
    # the engine that refuses one, in words of ours, and nobody waits in gradio's queue.
    return demo.queue(default_concurrency_limit=2 * AT_ONCE)


def serve(demo: gr.Blocks) -> None:
    """Start the page; what only an answer needs is imported behind it. Returns when the server is stopped."""
    if zerogpu.here():  # it asks for the functions that borrow a GPU while the page starts
        work.the_engine()
    demo.launch(**LAUNCH, prevent_thread_lock=True)
    warming = threading.Timer(HEAD_START, warm_up)
    warming.daemon = True
    warming.start()
    demo.block_thread()


def warm_up() -> None:
    """Import torch and the families and build the first model, so that no visitor waits for that."""
    work.the_engine()
    first = choices.first_model()
    choices.methods(first)
    choices.layers(first, link.BLANK.method)


def main() -> None:
    """Start the demo: the command `vision-zoo`."""
    help = (
        "GRADIO_SERVER_NAME and GRADIO_SERVER_PORT set the address; HF_HUB_OFFLINE=1 forbids downloads; "
        f"{VARIABLE} is the longest that a job may compute, in seconds ({SECONDS:g} if it is not set); "
        f"{records.VARIABLE} is the file that keeps latencies, and how often each model was looked at."
    )
    argparse.ArgumentParser("vision-zoo", description="Serve the Vision Zoo's page.", epilog=help).parse_args()
    serve(build())
