"""Below the answer: the first photo changed by sliders, and what the model says about it then."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr

import engine
from engine import Look
from engine.changes import Change
from engine.tiles import tile
from ui import cards, sheet, uploads, work
from ui.answer import Choice, reason_to_wait
from ui.parts import html

HINT = (
    '<p class="how">The first photo: a part of it kept, turned, blurred, with a grey square in its middle, saved as '
    "JPEG of less quality. The answer comes when a slider rests.</p>"
)
# field of Change -> label, least, most and step of its slider
SLIDERS = {
    "part": ("Kept (%)", 10, 100, 5),
    "turn": ("Turn (°)", -180, 180, 5),
    "blur": ("Blur (%)", 0, 10, 0.5),
    "box": ("Square (%)", 0, 100, 5),
    "quality": ("JPEG", 1, 100, 1),
}


@dataclass
class Parts:
    """The components, in reading order."""

    sliders: list[gr.Slider]  # in the order of SLIDERS
    reset: gr.Button
    shown: gr.HTML
    moved: gr.Textbox  # changes when a slider rests; not seen


def layout() -> Parts:
    """Place the components."""
    with gr.Column(elem_classes="sheet", elem_id="changes"):
        with gr.Row(elem_classes="head"):
            html("<h2>What if the photo were different?</h2>", "changes-title")
            reset = gr.Button("Put back", size="sm", scale=0, min_width=88, elem_id="put-back")
        with gr.Row(elem_id="sliders"):
            sliders = [_slider(name, *options) for name, options in SLIDERS.items()]
        shown = html(HINT, "changed")
    return Parts(sliders, reset, shown, gr.Textbox(visible="hidden"))


def _slider(name: str, label: str, least: float, most: float, step: float) -> gr.Slider:
    usual = getattr(Change(), name)
    return gr.Slider(least, most, usual, step=step, label=label, elem_id=f"change-{name}", min_width=160, buttons=[])


def put_back() -> list:
    """The sliders as they begin, and the hint."""
    return [*vars(Change()).values(), HINT]


async def changed(*values: Any) -> AsyncGenerator[str, None]:
    """What the model says about the first photo as it is, and changed. `values`: the sliders', then Parts.choice."""
    asked, (photos, *others) = values[: len(SLIDERS)], values[len(SLIDERS) :]
    choice = Choice.of(photos, *others)
    slow = choice.method is not None and choice.method.slow
    request = replace(choice.request, together=False, method="" if slow else choice.request.method)
    try:
        change = read(asked)
        if sentence := reason_to_wait(replace(choice, request=request)):
            raise engine.EngineError(sentence)
        (file,) = uploads.read(choice.photos[:1])
        different = await asyncio.to_thread(engine.changed, file, change)
    except engine.EngineError as error:
        yield cards.notice(str(error))
        return
    looks = list[Look]()
    with work.NEWEST.turn(f"changes {work.visitor()}") as newest:
        for each in (file, different):
            async with aclosing(work.looked(request, each)) as events:
                async for event in events:
                    if not newest():
                        return
                    if isinstance(event, str):
                        yield cards.notice(event)
                        return
                    if isinstance(event, Look):
                        looks.append(event)
                    else:
                        yield cards.progress(*work.doing(event))
    before, after = looks
    yield await asyncio.to_thread(answer, before, after, f"{request.model}, {file.name}", choice.count)


def read(values: Any) -> Change:
    """The sliders' values, which a browser may have sent as anything. Raises EngineError."""
    told: dict[str, Any] = {}
    for (name, (label, least, most, _)), value in zip(SLIDERS.items(), values, strict=True):
        if not isinstance(value, int | float) or not least <= value <= most:
            raise engine.EngineError(f"{label}: give a number from {least} to {most}.")
        told[name] = int(value) if name == "quality" else float(value)
    return Change(**told)


def answer(before: Look, after: Look, of: str, count: int) -> str:
    """The changed photo with its map, and its classes beside what they were before; `of` names model and photo."""
    picture = sheet.figure(tile(after), f"The changed photo: {cards.headline(after)}")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in after.notes)
    top = f'<p class="how">{escape(of)}</p><div class="changed">{picture}'
    if not after.guesses or not before.guesses:
        return f"{top}<div>{notes}</div></div>"
    old = {guess.index: guess.probability for guess in before.guesses}
    rows = "".join(_row(guess, old.get(guess.index)) for guess in after.guesses[:count])
    told = f'<p>{sentence(before, after)}</p><ol class="bars">{rows}</ol>{notes}'
    return f"{top}<div>{told}</div></div>"


def sentence(before: Look, after: Look) -> str:
    """Whether the first prediction is still the same."""
    old, new = before.guesses[0], after.guesses[0]
    was, now = cards.percent(old.probability), cards.percent(new.probability)
    if old.index == new.index:
        return f"Still <b>{escape(new.label)}</b>: {now}, after {was}."
    return f"Now <b>{escape(new.label)}</b>, {now}; it was <b>{escape(old.label)}</b>, {was}."


def _row(guess: engine.Guess, before: float | None) -> str:
    was = "" if before is None else f" <small>was {cards.percent(before)}</small>"
    return f'<li><div class="bar">{cards.filled(escape(guess.label) + was, guess.probability)}</div></li>'
