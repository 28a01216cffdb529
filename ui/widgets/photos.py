"""The photo strip: a visitor's photos and the examples, with gradio's camera below it while it is wanted."""

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.uploads import EXAMPLES, MOST, Photo, example

# The template is empty and stays so: what photos.js builds is never patched by gradio, and no name becomes markup.
BUILD = """zoo.photos.part(element, props, watch, upload, {
    input: () => trigger('input'),
    webcam: (open) => trigger('webcam', {open}),
})"""
QUIET: dict[str, Any] = dict(queue=False, show_progress="hidden", api_visibility="private")


@dataclass(frozen=True)
class PhotoStrip:
    """The parts, already wired to each other."""

    strip: gr.HTML  # its value is the photos; `.input` tells that a person changed them
    camera: gr.Image  # seen only while it is open


def photo_strip(name: str, value: list[Photo]) -> PhotoStrip:
    """A photo strip with elem_id `name`. Its value is only a claim of the page: read it with uploads.read."""
    strip = gr.HTML(
        value, html_template="", js_on_load=BUILD, apply_default_css=False, elem_id=name, label="Photos",
        name=name, most=MOST, examples=[example(file) for file in EXAMPLES],
    )  # fmt: skip
    camera = gr.Image(
        sources=["webcam"], type="filepath", label="Webcam", visible=False, interactive=True, height=240,
        buttons=[], elem_id=f"{name}-camera",
    )  # fmt: skip
    strip.webcam(show, None, camera, **QUIET)
    # In the browser alone: the photo is uploaded already, and an update from here would not count as a person's choice.
    camera.input(None, camera, camera, js=f"(photo) => zoo.photos.captured({json.dumps(name)}, photo)")
    return PhotoStrip(strip, camera)


def show(event: gr.EventData) -> gr.Image:
    """Open or close the camera; closed, it is not on the page, so the browser lets the device go."""
    return gr.Image(visible=bool(event.open), value=None)
