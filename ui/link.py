"""Links: a choice as a query string, and back. A link stays valid when the server restarts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlencode

import gradio as gr

import engine
import explain
from ui.uploads import EXAMPLE, EXAMPLES, MOST, Photo

# name in the query -> field of engine.Request
FIELDS = {
    "model": "model",
    "method": "method",
    "class": "target",
    "against": "contrast",
    "layer": "layer",
    "head": "head",
    "precision": "precision",
    "signed": "signed",
    "together": "together",
}
BLANK = engine.Request(model="")
BLANKS = {key: getattr(BLANK, name) for key, name in FIELDS.items()}
OPACITY = 0.55  # of the map, unless the link has another
OFF = "0", "false"  # values that do not switch on what is named


@dataclass(frozen=True)
class Linked:
    """What an address asks for."""

    request: engine.Request
    photos: tuple[str, ...] = ()  # names of examples: a visitor's own photos are never in a link
    opacity: float = OPACITY
    problems: list[str] = field(default_factory=list)  # sentences on what is not as the link says


def write(request: engine.Request, photos: Iterable[Photo] = (), opacity: float = OPACITY) -> str:
    """model=...&method=..., without what has its default value."""
    fields = {key: getattr(request, name) for key, name in FIELDS.items()}
    told = [(key, int(value) if value is True else value) for key, value in fields.items() if value != BLANKS[key]]
    paths = [photo["path"] for photo in photos]
    told += [("photo", path.removeprefix(EXAMPLE)) for path in paths if path.startswith(EXAMPLE)]
    if opacity != OPACITY:
        told.append(("opacity", f"{opacity:.2f}"))
    return urlencode(told)


def read(request: gr.Request, first: str) -> Linked:
    """The choice in the address; `first` is the model if it names none. What makes no sense gets its default."""
    asked, problems = request.query_params, list[str]()
    photos = tuple(name for name in asked.getlist("photo") if name in EXAMPLES)
    if len(photos) < len(asked.getlist("photo")):
        problems.append("This link names an example photo that does not exist.")
    if len(photos) > MOST:
        problems.append(f"This link names more than {MOST} photos: the first {MOST} are shown.")
    model, method = asked.get("model", first), asked.get("method", BLANK.method)
    try:
        engine.recipe(model)
    except engine.EngineError as error:
        model, problems = first, [*problems, f"{error} Another model is shown."]
    if method not in explain.METHODS:
        problems.append(f"This link asks for the explanation {method[:80]!r}, which does not exist: Grad-CAM is shown.")
        method = BLANK.method
    found = engine.Request(
        model=model,
        method=method,
        target=asked.get("class", ""),
        contrast=asked.get("against", ""),
        layer=asked.get("layer", BLANK.layer),
        head=_head(asked.get("head", ""), problems),
        precision=_precision(asked.get("precision", BLANK.precision), problems),
        signed=asked.get("signed", "0") not in OFF,
        together=asked.get("together", "0") not in OFF,
    )
    return Linked(found, photos[:MOST], _opacity(asked.get("opacity", ""), problems), problems)


def _head(text: str, problems: list[str]) -> int:
    if text in ("", str(BLANK.head)):
        return BLANK.head
    if text.isdecimal() and len(text) <= 4:
        return int(text)
    problems.append("The head in this link is not the number of one: the mean of all is shown.")
    return BLANK.head


def _precision(text: str, problems: list[str]) -> str:
    if text in engine.PRECISIONS:
        return text
    problems.append(f"There is no precision {text[:80]!r}, which this link names: {BLANK.precision} is used.")
    return BLANK.precision


def _opacity(text: str, problems: list[str]) -> float:
    try:
        opacity = float(text or OPACITY)
    except ValueError:
        opacity = float("nan")
    if 0 <= opacity <= 1:
        return opacity
    problems.append("The opacity in this link is not a number from 0 to 1: the default is used.")
    return OPACITY
