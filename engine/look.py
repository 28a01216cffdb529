"""Classify photos, and show where the model looked."""

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import explain
from engine import captions
from engine.classes import class_names, find_class
from engine.images import encode_exact, encode_photo, fit_page
from engine.jobs import EngineError, Guess, Look, Map, Photo, Place, Request
from engine.search import LONGEST, RANDOM, has_classes, recipe
from engine.store import give_back
from explain import Explanation, Progress, export, render
from explain.render import Placement
from explain.steps import forward
from zoo import Accelerated
from zoo.base import Backbone
from zoo.catalogue import Checkpoint
from zoo.photo import decoded
from zoo.preprocess import normalise, seen, view

NO_CLASSES = (
    "This checkpoint has no classes, so there is no top-5: its outputs are features. "
    "Attention and patch features show what it sees."
)
NOT_FINITE = (
    "This model's outputs are infinite or not numbers, so it has no answer: its weights are damaged, or too large for "
    "float32. Choose other weights."
)
LARGE = 20 * 10**6  # pixels of a photo whose memory is given back at once: each thread would keep that of its last one
OF_THE_MODEL = "The map is that of the model in float32."
GUESSES = 20  # so many at most are listed


@dataclass(frozen=True)
class Frame:
    """One prepared photo; the original, which may be large, is not kept."""

    page: Image.Image  # a copy, small enough for the page
    seen: Image.Image  # what the model sees
    placement: Placement  # where that lies on the copy
    crop: str  # which part of the photo that is, in one line
    x: Tensor  # the same as the model's input, (3, H, W)

    def to_seen(self, place: Place) -> Place:
        """Convert a place on the copy to one in what the model sees."""
        (down, across), (left, top, right, bottom) = place, self.placement.box
        return (down * self.page.height - top) / (bottom - top), (across * self.page.width - left) / (right - left)

    def to_page(self, place: Place) -> Place:
        """Convert a place in what the model sees to one on the copy."""
        (down, across), (left, top, right, bottom) = place, self.placement.box
        return (top + down * (bottom - top)) / self.page.height, (left + across * (right - left)) / self.page.width


def frame(photo: Photo, row: Checkpoint) -> Frame:
    """Open a photo and prepare it for a checkpoint. Raises zoo.PhotoError."""
    size, page, shown = _resized(photo, row)
    if size[0] * size[1] >= LARGE:
        give_back()
    across, down = page.width / size[0], page.height / size[1]
    left, top, right, bottom = view(size, row).box
    box = left * across, top * down, right * across, bottom * down
    placement = Placement(page.size, box, (shown.height, shown.width))
    return Frame(page, shown, placement, captions.crop(size, row), normalise(shown, row))


def _resized(photo: Photo, row: Checkpoint) -> tuple[tuple[int, int], Image.Image, Image.Image]:
    """A photo's width and height, its copy for the page, and what the model sees of it."""
    with decoded(photo.data, photo.name) as image:
        return image.size, fit_page(image), seen(image, row)


def batch(frames: list[Frame], model: Backbone) -> Tensor:
    """The model's input, on the device of its weights. -> (B, 3, H, W)."""
    return torch.stack([frame.x for frame in frames]).to(next(model.parameters()).device)


def look(
    model: Backbone,
    request: Request,
    frames: list[Frame],
    progress: Progress = explain.silent,
    fast: Accelerated | None = None,
) -> list[Look]:
    """Classify photos and show where the model looked, one Look per frame. Raises EngineError.

    The guesses are those of `fast` if there is such a copy of the model; maps are always the model's own.
    """
    row, x = recipe(request.model), batch(frames, model)
    exact = logits = forward(model, x, progress).float().cpu()
    if fast:
        logits = torch.cat([forward(fast, one, progress) for one in x.split(1)]).cpu()
    if not logits.isfinite().all():
        raise EngineError(NOT_FINITE)
    shares = logits.softmax(-1)
    asked = options(request, row, frames)
    if fast and "target" in asked and asked["target"] is None:
        asked["target"] = logits.argmax(-1)  # the first guess that is shown, also where float32 has another
    maps, problem = _explain(model, x, request.method, asked, progress)
    drawn = draw(maps, request, model, frames) if maps else [None] * len(frames)
    notes = [problem] if problem else maps.notes if maps else []
    if not has_classes(request.model):
        notes = [NO_CLASSES, *notes]
    if fast:
        notes = [less_exact(fast, logits, exact), *notes, *[OF_THE_MODEL] * bool(maps)]
    query = maps.query if maps else None
    return [
        Look(
            photo=encode_photo(frame.page),
            seen=encode_exact(frame.seen),
            crop=frame.crop,
            guesses=guesses(shares[i], row),
            probabilities=shares[i].numpy() if has_guesses(row) else None,
            map=drawn[i],
            asking=frame.to_page(query) if query and asked.get("image", i) == i else None,
            notes=[*notes],
        )
        for i, frame in enumerate(frames)
    ]


def less_exact(fast: Accelerated, logits: Tensor, exact: Tensor) -> str:
    """How far the guesses of a copy are from the model's own, in a sentence."""
    change, reach = (logits - exact).abs().max().item(), exact.abs().max().item()
    kind = str(fast.dtype).removeprefix("torch.")
    moved = f"no output moved by more than {change:.1g} here, where the largest is {reach:.1g}"
    return f"The guesses are computed in {kind}: {moved}."


def has_guesses(row: Checkpoint) -> bool:
    """Whether the probabilities mean anything: the outputs have names and the weights are trained."""
    return row.labels is not None and row.source != RANDOM


def guesses(shares: Tensor, row: Checkpoint) -> list[Guess]:
    """The most probable classes for probabilities (classes,)."""
    names = class_names(row)
    if names is None or not has_guesses(row):
        return []
    probability, index = shares.topk(min(GUESSES, len(shares)))
    pairs = zip(index.tolist(), probability.tolist(), strict=True)
    return [Guess(i, names[i], p) for i, p in pairs]


def options(request: Request, row: Checkpoint, frames: list[Frame]) -> dict[str, Any]:
    """Options for the chosen method; a clicked place is converted to one in what the model sees."""
    if not request.method:
        return {}
    if request.method not in explain.METHODS:
        raise EngineError(f"There is no explanation called {request.method[:LONGEST]!r}: choose one of the list.")
    method = explain.METHODS[request.method]
    told: dict[str, Any] = {}
    if method.by_class:
        told |= {"target": find_class(row, request.target), "contrast": find_class(row, request.contrast)}
        if told["contrast"] is not None and told["contrast"] == told["target"]:
            raise EngineError("The class is compared with itself: choose another to compare it with.")
    if method.takes("layer"):
        if request.layer and not request.layer.isdecimal():
            raise EngineError(
                f"Attention layers have numbers, and {request.layer[:LONGEST]!r} is not one: give a number."
            )
        told |= {"layer": int(request.layer or -1), "head": None if request.head < 0 else request.head}
    if method.takes("tap") and request.layer:
        told["tap"] = request.layer[:LONGEST]
    if method.takes("joint"):
        told["joint"] = request.together
    if request.clicked and method.takes("query") and request.clicked[0] < len(frames):
        i, place = request.clicked
        query = frames[i].to_seen(place)
        if not all(0 <= share <= 1 for share in query):
            raise EngineError("The place that was clicked lies outside what the model saw: click inside the crop.")
        told["query"] = query
        if method.takes("image"):
            told["image"] = i
    return told


def _explain(
    model: Backbone, x: Tensor, method: str, asked: dict[str, Any], progress: Progress
) -> tuple[Explanation | None, str | None]:
    """Make the maps, or return the sentence that says why there are none; neither without a method."""
    if not method:
        return None, None
    if explain.METHODS[method].slow:
        asked = asked | {"progress": progress}
    try:
        return explain.explain(model, x, method, **asked), None
    except explain.ExplanationError as error:
        return None, str(error)


def draw(maps: Explanation, request: Request, model: Backbone, frames: list[Frame]) -> list[Map]:
    """Draw each map as a layer for its photo."""
    raw, row = [values.numpy() for values in maps.raw], recipe(request.model)
    where = captions.place(maps, model.readout)
    drawn = []
    for i, (values, frame) in enumerate(zip(raw, frames, strict=True)):
        cells, group = maps.places(frame.placement.seen), raw if request.together else [values]
        layer, low, high = render.paint(values, cells, frame.placement, group, request.signed)
        known = {"model": request.model, **export.facts(maps, i)}
        drawn.append(
            Map(
                layer=encode_exact(layer),
                values=values,
                signed=request.signed,
                facts=known,
                target=_target_name(maps, i, row),
                place=where,
                low=low,
                high=high,
                cells=cells,
                placement=frame.placement,
            )
        )
    return drawn


def _target_name(maps: Explanation, i: int, row: Checkpoint) -> str | None:
    if maps.target is None:
        return None
    names = class_names(row)
    name = [names[c] if names else f"class {c}" for c in (maps.target[i], maps.contrast) if c is not None]
    return " rather than ".join(name)
