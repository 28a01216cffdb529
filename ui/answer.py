"""Classify: from what the page asks for to the cards, with what must be said on the way."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import engine
import explain
import zoo
from engine import Job, Looks, Request
from engine.jobs import NO_PHOTO
from ui import cards, choices, facts, link, snippets, uploads, work
from ui.parts import Outputs
from ui.uploads import Photo
from zoo.catalogue import Checkpoint

UNTRAINED = "These weights are random and untrained: use them for latency and structure, and do not interpret the map."
# How the text of `asked` begins; the rest makes it new, so that its change starts an answer.
CHANGED, PRESSED, PLACE = "changed", "pressed", "place"
MOST_CLASSES = 20


@dataclass(frozen=True)
class Choice:
    """What the page asks for: the values of its components, checked, because what a browser sends is only a claim."""

    request: Request
    photos: list[Photo]
    count: int  # classes that a card lists
    opacity: float

    @classmethod
    def of(cls, photos: Any, *values: Any) -> "Choice":
        """From the values of Parts.choice, in their order."""
        *texts, signed, together, count, opacity = values
        told = (text if isinstance(text, str) else "" for text in texts)
        model, method, target, contrast, layer, head, precision = told
        request = Request(
            model=model,
            method=method,
            target=target,
            contrast=contrast,
            layer="" if layer == choices.LAST else layer,
            head=int(head) if head.isdecimal() else -1,
            precision=precision,
            signed=bool(signed),
            together=bool(together),
        )
        return cls(request, uploads.named(photos), min(max(int(count), 1), MOST_CLASSES), float(opacity))

    @property
    def method(self) -> explain.Method | None:
        return explain.METHODS.get(self.request.method)


@dataclass(frozen=True)
class Said(Outputs):
    """What an answer puts on the page, in the order of Parts.said."""

    results: str | None = None
    status: str | None = None
    strip: str | None = None
    faithful: str | None = None
    zoo_code: str | None = None
    client_code: str | None = None
    address: str | None = None


async def classify(asked: str, photos: Any, *values: Any) -> AsyncGenerator[list, None]:
    """Classify and explain the photos. A photo that cannot be read does not affect the others.

    A changed choice waits for the button if it would cost a download or many forwards; a press does not.
    """
    kind, _, rest = asked.partition(" ")
    choice = Choice.of(photos, *values)
    try:
        yield opening(choice, work.the_engine().timed(choice.request)).outputs()
        if sentence := reason_to_wait(choice) if kind == CHANGED else "":
            yield Said(status=cards.notice(sentence)).outputs()
            return
        request = replace(choice.request, clicked=place(rest)) if kind == PLACE else choice.request
        files = uploads.read(choice.photos)
        visitor = work.visitor()
        with work.NEWEST.turn(visitor) as wanted:
            async with aclosing(work.the_engine().run(Job("look", request, files, visitor=visitor))) as events:
                async for event in events:
                    if not wanted():
                        return
                    if isinstance(event, Looks):
                        yield answered(replace(choice, request=request), event, asked).outputs()
                    else:
                        yield Said(status=cards.progress(*work.doing(event))).outputs()
    except engine.EngineError as error:
        yield refused(choice.request.model, str(error)).outputs()


def refused(model: str, sentence: str) -> Said:
    """Why there is no answer. The cards go if the model can't be had, and stay, dimmed, if it was something else."""
    row = zoo.checkpoints().get(model)
    lost = row is not None and not zoo.is_local(row)
    if lost or (row is None and model not in zoo.names()):
        again = row.architecture if row else ""
        return Said(results="", faithful="", status=cards.notice(sentence, again=again))
    return Said(status=cards.notice(sentence))


def opening(choice: Choice, measured: Mapping[str, engine.Measured]) -> Said:
    """What is known at once: the figures of the model, the code and the address of the choice."""
    request = choice.request
    name = choice.photos[0]["name"] if choice.photos else "photo.jpg"
    return Said(
        strip=facts.strip(request.model, measured),
        zoo_code=snippets.zoo_code(request, name),
        client_code=snippets.client_code(request, name),
        address=link.write(request, choice.photos, choice.opacity),
    )


def reason_to_wait(choice: Choice) -> str:
    """Why a changed choice is not answered before the button is pressed; empty if it is."""
    row, method = engine.recipe(choice.request.model), choice.method
    if not choice.photos:
        return NO_PHOTO
    if not engine.is_local(row.name):
        megabytes = engine.price(row.name).weight_bytes / 1e6
        return f"{row.name} needs a download of about {megabytes:.0f} MB. Press Classify to start it."
    if method and method.slow:
        return f"{method.title} takes {method.cost} a photo. Press Classify to start it."
    return ""


def answered(choice: Choice, found: Looks, asked: str) -> Said:
    """The cards, and what must be said about them."""
    row = engine.recipe(choice.request.model)
    shown = tuple(
        cards.Shown(photo["name"], look, truth(photo, row))
        for photo, look in zip(choice.photos, found.photos, strict=True)
    )
    answer = cards.Answer(shown, choice.request, choice.count, tuple(choice.photos), asked)
    notes = [UNTRAINED] if row.source == engine.RANDOM else []
    return Said(
        results=cards.answer(answer),
        status=cards.notice(*notes) + cards.spoken(answer),
        faithful="",
    )


def truth(photo: Photo, row: Checkpoint) -> int | None:
    """The class that a photo shows: as a person said, or else as its file's name says. None if that is not known."""
    names = engine.class_names(row) or ()
    said = photo["truth"]
    if said in names:
        return names.index(said)
    if said.isdecimal() and int(said) < len(names):
        return int(said)
    return None if said else engine.truth_from_name(photo["name"], names, engine.synsets(row))


def place(text: str) -> tuple[int, engine.Place]:
    """The number of a photo and the place in it, from "photo down across ..."."""
    try:
        photo, down, across, *_ = text.split()
        return int(photo), (float(down), float(across))
    except ValueError as error:
        raise engine.EngineError("This place cannot be read: select one in the photo.") from error


def again(kind: str, *parts: Any) -> str:
    """A text for `asked` that differs from every one before it."""
    return " ".join(map(str, (kind, *parts, time.time_ns())))
