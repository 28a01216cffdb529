"""The whole page: a title, then one tab per module of ui/ that has `layout() -> Parts` and `wire(parts, demo)`."""

import argparse
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Soft

from ui import api, explore, work

ASSETS = Path(__file__).parent / "assets"
TABS = {"Explore": explore}
TITLE = """# Vision Zoo
Pick any image classifier, drop in photos, see what it says, how long it takes on this machine, and where it looked."""

# The page asks no outside host for anything, keeps none of a visitor's photos, and is served by one process.
LAUNCH: dict[str, Any] = dict(
    theme=Soft(primary_hue="teal", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    css_paths=[ASSETS / "style.css"],
    favicon_path=ASSETS / "icon.svg",
    allowed_paths=explore.EXAMPLES,  # handlers give them out, and gradio may lie outside the working folder
    ssr_mode=False,
    run_history=False,
    enable_monitoring=False,
    state_session_capacity=300,
    max_file_size="30mb",
    footer_links=["api", "settings"],
)


def build() -> gr.Blocks:
    """Lay out every tab and wire it."""
    with gr.Blocks(title="Vision Zoo", analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as demo:
        gr.Markdown(TITLE, elem_id="title")
        parts = {}
        for name, tab in TABS.items():
            with gr.Tab(name, id=name.lower()):
                parts[name] = tab.layout()
        for name, tab in TABS.items():
            tab.wire(parts[name], demo)
        api.layout()
    # The engine decides which job computes, so it accepts all of them at once. The queue is bounded: without a bound, a
    # classroom would wait for ever, and on ZeroGPU gradio would allow one visitor. A visitor who finds it full is told.
    return demo.queue(max_size=64, default_concurrency_limit=work.ENGINE.at_once)


def main() -> None:
    """Start the demo: the command `vision-zoo`."""
    help = "GRADIO_SERVER_NAME and GRADIO_SERVER_PORT set the address; HF_HUB_OFFLINE=1 forbids downloads."
    argparse.ArgumentParser("vision-zoo", description="Serve the Vision Zoo's page.", epilog=help).parse_args()
    build().launch(**LAUNCH)
