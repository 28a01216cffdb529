"""HTML for the answer: one card per photo, from what the engine says about it. Pure functions from values to text."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from PIL import Image

import engine
import explain
from engine import Look, Request
from ui import choices
from ui.facts import FEW, GREY, knows
from ui.uploads import Photo

ASK = "Select a place in the photo, or move there with the arrow keys and press Enter, to ask about it."
REVEAL = '<p class="reveal">What is it? <button type="button" data-reveal>Reveal</button></p>'  # while guessing
VIEWS = ("Photo", "Overlay", "Map")
DOING = '<div class="say doing">'
SMALL = 100  # pixels: a smaller image is drawn with its pixels visible


@dataclass(frozen=True)
class Shown:
    """One photo of an answer."""

    name: str
    look: Look | str  # a string says why the photo cannot be read
    truth: int | None = None  # the class that it really shows, if a person or its file's name says so


@dataclass(frozen=True)
class Answer:
    """Everything that the cards show."""

    photos: tuple[Shown, ...]
    request: Request
    count: int = 5  # classes a card lists
    uploads: tuple[Photo, ...] = ()  # the photos as the page names them, so that a card can ask for its files
    made: str = ""  # differs from answer to answer: the browser does not tell one that is equal to the last


def notice(*sentences: str, again: str = "") -> str:
    """Sentences that a person must read; empty without any. With `again`, random weights are offered for that model."""
    if not sentences:
        return ""
    offer = f'<button type="button" data-do="random" data-value="{escape(again)}">Use random weights</button>'
    return f'<div class="say">{"<br>".join(map(escape, sentences))}{offer if again else ""}</div>'


def progress(sentence: str, share: float | None) -> str:
    """What a job is doing, with a bar if it is known how far it is."""
    bar = "" if share is None else f'<progress max="100" value="{100 * share:.0f}"></progress>'
    return f"{DOING}{escape(sentence)}{bar}</div>"


def is_progress(text: str) -> bool:
    return text.startswith(DOING)


def spoken(answer: Answer) -> str:
    """One line for the live region: a screen reader says it when the answer is there."""
    said = [f"{photo.name}: {headline(photo.look) or 'no prediction'}" for photo in answer.photos]
    return f'<p class="spoken">{escape("; ".join(said))}</p>'


def headline(look: Look | str) -> str:
    if isinstance(look, str):
        return look
    return f"{look.guesses[0].label} {percent(look.guesses[0].probability)}" if look.guesses else ""


def percent(probability: float) -> str:
    return f"{100 * probability:.1f} %"


def answer(found: Answer) -> str:
    """The heading with its tools, then the cards in the photos' order."""
    buttons = "".join(f'<button type="button" data-view="{view.lower()}">{view}</button>' for view in VIEWS)
    views = f'<div class="seg" role="group" aria-label="View">{buttons}</div>'
    save = '<button type="button" class="tool" data-save="all">Save all</button>'
    guess = '<button type="button" class="tool" data-guess>Guess first</button>'
    screen = '<button type="button" class="tool" data-screen>Full screen</button>'
    count = len(found.photos)
    right = marked(found)
    told = f"{count} photo{'s' * (count > 1)}{right}"
    tools = f'<span class="tools">{guess}{save}{screen}{views}</span>'
    top = f'<div class="bar-top"><h2>Predictions</h2><small>{told}</small>{tools}</div>'
    articles = "".join(card(photo, number, found) for number, photo in enumerate(found.photos))
    return (
        f'{top}<div class="cards" data-made="{escape(found.made)}" data-asked="{escape(asked(found))}">{articles}</div>'
    )


def waiting(name: str, photo: Path) -> str:
    """A card of the usual size for an example photo, until its answer is there."""
    with Image.open(photo) as opened:
        width, height = opened.size
    stack = (
        f'<div class="stack" style="--wide:{min(1.0, width / height):.4f};aspect-ratio:{width}/{height}">'
        f'<img class="photo" alt="{escape(name)}" src="static/examples/{escape(name)}"></div>'
    )
    grey = "".join(f'<li><div class="bar">{GREY}<i></i></div></li>' for _ in range(5))
    top = '<div class="bar-top"><h2>Predictions</h2><small>1 photo</small></div>'
    return (
        f'{top}<div class="cards"><article class="card"><h3><span>{escape(name)}:</span> {GREY}</h3>'
        f'<div class="body"><figure class="pic">{stack}<figcaption></figcaption></figure>'
        f'<div class="side"><h4>Top 5</h4><ol class="bars">{grey}</ol></div></div>'
        f"<footer>{GREY}</footer></article></div>"
    )


def asked(found: Answer) -> str:
    """What the cards answer, as JSON: files to save are made from it, so they are those of the card that is seen."""
    return json.dumps({"photos": found.uploads, "request": asdict(found.request)})


def marked(found: Answer) -> str:
    """How many of the photos whose class is known are right."""
    known = [
        photo
        for photo in found.photos
        if photo.truth is not None and isinstance(photo.look, Look) and photo.look.guesses
    ]
    right = sum(is_right(photo) for photo in known)
    return f", {right} of {len(known)} right" if known else ""


def is_right(photo: Shown) -> bool:
    assert isinstance(photo.look, Look)
    return bool(photo.look.guesses) and photo.look.guesses[0].index == photo.truth


def card(photo: Shown, number: int, found: Answer) -> str:
    """The card of photo `number`."""
    name, look, request = escape(photo.name), photo.look, found.request
    if isinstance(look, str):
        return f'<article class="card"><h3><span>{name}</span></h3><div class="body one">{notice(look)}</div></article>'
    first = look.guesses[0] if look.guesses else None
    said = f"{escape(first.label)} <b>{percent(first.probability)}</b>" if first else "no prediction"
    top = f'<span>{name}:</span> <span class="said">{said}</span>{verdict(photo, request.model)}'
    method = escape(explain.METHODS[request.method].title) if request.method in explain.METHODS else ""
    foot = " · ".join(part for part in (escape(request.model), method, escape(target(look))) if part)
    files = "".join(
        f'<button type="button" class="link" data-save="{kind}" data-photo="{number}">{label}</button>'
        for kind, label, there in (
            ("map", "map (PNG, NPY, JSON)", look.map),
            ("csv", "probabilities (CSV)", look.probabilities is not None),
        )
        if there
    )
    return (
        f'<article class="card"><h3>{top}</h3>'
        f'<div class="body">{figure(photo, look, number, request)}{side(photo, look, number, found)}</div>'
        f"<footer><span>{foot}</span><span>{'Save ' if files else ''}{files}</span></footer></article>"
    )


def verdict(photo: Shown, model: str) -> str:
    """Whether the first prediction is the true class."""
    if photo.truth is None:
        return ""
    if is_right(photo):
        return '<em class="right">right</em>'
    names = engine.class_names(engine.recipe(model))
    return f'<em class="wrong">wrong: it is {escape(names[photo.truth])}</em>' if names else ""


def target(look: Look) -> str:
    return f"for {look.map.target}" if look.map and look.map.target else ""


def figure(photo: Shown, look: Look, number: int, request: Request) -> str:
    """The photo with its map over it, and the colour bar under it."""
    wide = min(1.0, look.photo.width / look.photo.height)
    image = f'<img class="photo" alt="{escape(describe(photo, look, request))}" src="{source(look.photo)}">'
    heat = f'<img class="heat" alt="" src="{source(look.map.layer)}">' if look.map else ""
    layers = image + heat + ring(look.asking)
    style = f'style="--wide:{wide:.4f};aspect-ratio:{look.photo.width}/{look.photo.height}"'
    if request.method in explain.METHODS and explain.METHODS[request.method].takes("query"):
        stack = (
            f'<button type="button" class="stack asks" {style} data-photo="{number}" '
            f'aria-label="{escape(photo.name)}. {ASK}">'
            f"{layers}</button><p>{ASK}</p>"
        )
    else:
        stack = f'<div class="stack" {style}>{layers}</div>'
    return f'<figure class="pic">{stack}{colour_bar(look.map, request)}</figure>'


def colour_bar(drawn: engine.Map | None, request: Request) -> str:
    """The values of a map's first and last colour, and what the map is of."""
    if drawn is None:
        return ""
    what = explain.METHODS[request.method].title + (f" for {drawn.target}" if drawn.target else "")
    if drawn.low is None or drawn.high is None:
        return f"<figcaption><em>{escape(what)}: places of one colour have like features</em></figcaption>"
    ramp = "ramp signed" if request.signed else "ramp"
    low, high = f"{drawn.low:.3g}", f"{drawn.high:.3g}"
    return (
        f'<figcaption><span>{low}</span><i class="{ramp}" role="img" aria-label="Colour bar from {low} to {high}"></i>'
        f"<span>{high}</span><em>{escape(what)}</em></figcaption>"
    )


def ring(place: engine.Place | None) -> str:
    """A mark at the place asked about."""
    return f'<i class="ring" style="top:{100 * place[0]:.2f}%;left:{100 * place[1]:.2f}%"></i>' if place else ""


def side(photo: Shown, look: Look, number: int, found: Answer) -> str:
    """What stands beside the photo: the most probable classes, notes, the true class, and what the model saw."""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in (*limits(found.request), *look.notes))
    rows = choices.classes(found.request.model)
    known = "" if photo.truth is None else choices.class_value(found.request.model, photo.truth)
    told = f'data-photo="{number}" data-truth="{escape(known)}" data-rows="{rows}"'
    truth = f'<div class="truth combo" {told}></div>' if look.guesses else ""
    small = " pixels" if max(look.seen.height, look.seen.width) < SMALL else ""
    lines = [look.crop, *([look.map.place] if look.map else [])]
    seen = (
        f'<div class="seen{small}">'
        f'<img alt="The part of {escape(photo.name)} that the model saw" src="{source(look.seen)}">'
        f"<p><b>Input</b><br>{'<br>'.join(map(escape, lines))}</p></div>"
    )
    return f'<div class="side">{REVEAL}{bars(look, found)}{notes}{truth}{seen}</div>'


def limits(request: Request) -> list[str]:
    """A warning if the model knows few classes."""
    row = engine.recipe(request.model)
    names = engine.class_names(row) if row.source != engine.RANDOM else None
    if names is None or len(names) > FEW:
        return []
    return [f"Knows {knows(row)}. Any other photo is taken for one of these."]


def bars(look: Look, found: Answer) -> str:
    """The most probable classes. Each is a button that explains its class, where the method explains classes."""
    guesses: Sequence[engine.Guess] = look.guesses[: found.count]
    if not guesses:
        return ""
    by_class = found.request.method in explain.METHODS and explain.METHODS[found.request.method].by_class
    shown = look.map.target if look.map else None
    rows = "".join(bar(guess, by_class, guess.label == shown) for guess in guesses)
    hint = " <small>select a class to explain it</small>" if by_class else ""
    return f'<h4>Top {len(guesses)}{hint}</h4><ol class="bars">{rows}</ol>'


def bar(guess: engine.Guess, by_class: bool, chosen: bool) -> str:
    inside = filled(escape(guess.label), guess.probability)
    if not by_class:
        return f'<li><div class="bar">{inside}</div></li>'
    return (
        f'<li><button type="button" class="bar" data-class="{guess.index}" aria-pressed="{str(chosen).lower()}" '
        f'title="Explain this class">{inside}</button></li>'
    )


def filled(label: str, probability: float) -> str:
    """What stands in a bar; `label` is HTML."""
    line = f'<i><u style="width:{100 * probability:.1f}%"></u></i>'
    return f"<span>{label}</span><b>{percent(probability)}</b>{line}"


def describe(photo: Shown, look: Look, request: Request) -> str:
    """Alternative text of the photo and its map, for people who do not see them."""
    said = f"{request.model} says {headline(look)}" if look.guesses else f"shown to {request.model}"
    over = f"; over it, the map {target(look)}".rstrip() if look.map else ""
    return f"{photo.name}; {said}{over}"


def source(image: engine.Encoded) -> str:
    """A data URL of an image, so that no photo of a visitor is written to a file."""
    return f"data:image/{image.kind};base64,{base64.b64encode(image.data).decode()}"
