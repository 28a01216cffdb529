"""Below the answer: the chosen explanation at every layer, or for every head of one layer, as small multiples."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr

import engine
import zoo
from engine import Look, Request
from engine.jobs import NO_PHOTO
from engine.tiles import group, tile
from explain import METHODS
from ui import cards, sheet, uploads, work
from ui.answer import Choice
from ui.parts import html

LAYERS, HEADS = "All layers", "All heads"
HINT = '<p class="how">The first photo at every layer, or for every head of a layer. Select one to enlarge it.</p>'
NO_LAYERS = "{} has no layers to choose from: take Attention, or a class map such as Grad-CAM."
NO_HEADS = "Only Attention has heads: choose it as the explanation."

Frame = tuple[str, Request]  # caption, and what it shows


@dataclass
class Parts:
    """The components, in reading order."""

    layers: gr.Button
    heads: gr.Button
    shown: gr.HTML


def layout() -> Parts:
    """Place the components."""
    with gr.Column(elem_classes="sheet", elem_id="multiples"):
        with gr.Row(elem_classes="head"):
            html("<h2>Layers and heads</h2>", "multiples-title")
            layers = gr.Button(LAYERS, size="sm", scale=0, min_width=88, elem_id="all-layers")
            heads = gr.Button(HEADS, size="sm", scale=0, min_width=88, elem_id="all-heads")
        shown = html(HINT, "frames", "zoo.frames(element, watch)")
    return Parts(layers, heads, shown)


def frames(request: Request, which: str) -> list[Frame]:
    """What is asked for: one request for each layer or head. Raises EngineError where the explanation has none."""
    method = METHODS.get(request.method)
    row = engine.recipe(request.model)
    price = zoo.cost(row.architecture, row.size, row.num_classes)
    if which == HEADS:
        if not method or not method.takes("layer"):
            raise engine.EngineError(NO_HEADS)
        path, count = price.attention_layers[int(request.layer or -1)]
        return [(f"{path}, head {head}", replace(request, head=head)) for head in range(count)]
    if method and method.takes("layer"):
        return [
            (
                f"{number}: {path}",
                replace(request, layer=str(number), head=request.head if request.head < count else -1),
            )
            for number, (path, count) in enumerate(price.attention_layers)
        ]
    if method and method.takes("tap"):
        return [(name, replace(request, layer=name)) for name, _ in price.stages]
    raise engine.EngineError(NO_LAYERS.format(method.title if method else "No explanation"))


async def all_layers(photos: Any, *values: Any) -> AsyncGenerator[str, None]:
    """The first photo at every layer."""
    async for text in _shown(Choice.of(photos, *values), LAYERS):
        yield text


async def all_heads(photos: Any, *values: Any) -> AsyncGenerator[str, None]:
    """The first photo for every head of one layer."""
    async for text in _shown(Choice.of(photos, *values), HEADS):
        yield text


async def _shown(choice: Choice, which: str) -> AsyncGenerator[str, None]:
    """The frames one by one, each on its own colour scale; then, if that is wanted, all on one."""
    try:
        wanted, files = frames(choice.request, which), uploads.read(choice.photos[:1])
        if not files:
            raise engine.EngineError(NO_PHOTO)
    except engine.EngineError as error:
        yield cards.notice(str(error))
        return
    title, looks = f"{which}, {choice.request.model}, {files[0].name}", list[Look]()
    text = opening(title)
    with work.NEWEST.turn(f"multiples {work.visitor()}") as newest:
        for number, (caption, request) in enumerate(wanted):
            async with aclosing(work.looked(request, files[0])) as events:
                async for event in events:
                    if not newest():
                        return
                    if isinstance(event, str):
                        yield text + cards.notice(event)
                        return
                    if isinstance(event, Look):
                        looks.append(event)
                        text += await asyncio.to_thread(frame, number, caption, event)
                        yield text
    if choice.request.together:
        yield await asyncio.to_thread(_on_one_scale, title, [caption for caption, _ in wanted], looks)


def opening(title: str) -> str:
    """What stands above the frames; the browser fills it with the one that is selected, and plays them."""
    return (
        f'<p class="how">{escape(title)}</p><div class="player"><div class="big"></div><div class="controls">'
        '<button type="button" data-play>Play</button><input type="range" min="0" value="0" aria-label="Frame">'
        '<output></output></div></div><ol class="tiles">'
    )


def frame(number: int, caption: str, look: Look, scale: list | None = None) -> str:
    """One of the small multiples; without a map, the reason."""
    drawn = tile(look, scale)
    notes = [] if look.map else look.notes[-1:]
    largest = [f"largest {drawn.largest:.3g}"] if drawn.largest is not None else []
    told = "".join(f"<small>{escape(line)}</small>" for line in (*largest, *notes))
    picture = sheet.figure(drawn, f"{caption}: {cards.headline(look)}")
    return f'<li><button type="button" data-frame="{number}">{picture}<b>{escape(caption)}</b>{told}</button></li>'


def _on_one_scale(title: str, captions: list[str], looks: list[Look]) -> str:
    scale = group(looks)
    parts = [frame(i, caption, look, scale) for i, (caption, look) in enumerate(zip(captions, looks, strict=True))]
    return opening(title) + "".join(parts)
