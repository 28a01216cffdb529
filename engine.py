"""What the page can ask for: find a model, have its weights, classify, explain, time it. No gradio here.

A model is asked for by name: a checkpoint ("resnet50.a1_in1k"), or an architecture alone ("resnet50"), which then has
fresh weights: good for its latency and its structure, not for its guesses. Names and pictures go in, plain values and
PIL pictures come out, so that a call may run in another process.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import explain
import zoo
from explain import export, faithfulness, render
from zoo import labels
from zoo.base import Backbone
from zoo.catalogue import Checkpoint
from zoo.cost import cost
from zoo.latency import Timing, measure
from zoo.memory import shortage
from zoo.preprocess import preprocess, seen, view

GIB = 1 << 30
SHOWN = 256, 640  # least and most that the longest side, in pixels, of a picture on the page may have
FRESH = "fresh weights"
NO_CLASSES = (
    "This checkpoint names no classes, so there is no top-5: what it gives are features. "
    "Attention and patch features show what it sees."
)
OUT_OF_MEMORY = "The memory is too small for this: look at fewer photos at once, or choose a smaller model."


Place = tuple[float, float]  # in a picture: down and across, from 0 to 1
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


class EngineError(ValueError):
    """A request that cannot be met; the message is one sentence for the person who asked."""


@dataclass(frozen=True)
class Guess:
    """One class and the probability that the model gives it."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Map:
    """Where a model looked in one photo: drawn, and as it is."""

    layer: Image.Image  # to lay over the photo
    values: np.ndarray  # (h, w), or (3, h, w) where it is of features: signed, not stretched
    facts: dict[str, Any]  # of explain.export
    target: str | None  # the class that it is for
    top: float | None  # the value that has the last colour


@dataclass(frozen=True)
class Look:
    """What a model made of one photo."""

    photo: Image.Image  # small enough for a page
    seen: Image.Image  # exactly what the model was shown
    guesses: list[Guess]  # best first; empty if the outputs have no names and no trained weights
    map: Map | None
    asking: Place | None  # the place in the photo whose features, or whose patch, the map is about
    notes: list[str]


class Store:
    """Keep the last models in memory, by bytes, oldest out first; safe across threads."""

    def __init__(self, load: Callable[[str], Backbone], limit: int = 4 * GIB):
        self.load, self.limit = load, limit
        self.models: OrderedDict[str, Backbone] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, name: str) -> Backbone:
        with self.lock:
            if name not in self.models:
                self.models[name] = self.load(name)
            self.models.move_to_end(name)
            while len(self.models) > 1 and sum(map(weight_bytes, self.models.values())) > self.limit:
                self.models.popitem(last=False)
            return self.models[name]

    def clear(self) -> None:
        with self.lock:
            self.models.clear()


def weight_bytes(model: Backbone) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def is_local(name: str) -> bool:
    """Whether a checkpoint or architecture can be had without a network."""
    return "." not in name or zoo.is_local(name)


def recipe(name: str) -> Checkpoint:
    """The line of the catalogue for a checkpoint, or one made up for an architecture with fresh weights."""
    if "." in name:
        return zoo.checkpoint(name)
    published = zoo.for_architecture(name)
    size = (cost(name).height, cost(name).width)
    like = published[0] if published else next(iter(zoo.checkpoints().values()))
    return replace(like, name=name, size=size, test_size=size, labels=None, license="", source=FRESH, top1=None)


def _load(name: str) -> Backbone:
    if "." in name:
        return zoo.load(name).to(device())
    if sentence := shortage(name, cost(name).weight_bytes):
        raise EngineError(sentence)
    torch.manual_seed(0)
    return zoo.create(name).requires_grad_(False).to(device())


STORE = Store(_load)


@contextmanager
def _within_memory() -> Iterator[None]:
    """Say in a sentence that memory ran out, and give up the models that are kept: the next call has their room."""
    try:
        yield
    except RuntimeError as error:  # on a GPU it has a class of its own, on a CPU only words
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        STORE.clear()
        raise EngineError(OUT_OF_MEMORY) from error


def search(query: str, limit: int = 50) -> list[str]:
    """Architectures for a query, the ones that work offline first.

    Words (all must occur in the name, the family or what it is made of), a glob (`vit_*_384`) or a regular expression
    between slashes (`/resnet(18|34)$/`). Raises EngineError for a broken expression.
    """
    query = query.strip().lower()
    names = zoo.names()
    if len(query) > 1 and query.startswith("/") and query.endswith("/"):
        try:
            pattern = re.compile(query[1:-1])
        except re.error as error:
            raise EngineError(f"{query} is not a regular expression: {error}.") from error
        found = [name for name in names if pattern.search(name)]
    elif any(c in query for c in "*?["):
        found = [name for name in names if fnmatchcase(name, query)]
    else:
        found = [name for name in names if all(word in _text(name) for word in query.split())]
    return sorted(found, key=_rank)[:limit]


def _text(name: str) -> str:
    family = zoo.family_of(name)
    return name if family is None else f"{name} {family.name} {family.section} {family.paradigm}".lower()


def _rank(name: str) -> tuple[int, float]:
    """Bundled ones first, best first; then published ones; then those with fresh weights only."""
    best = next(iter(zoo.for_architecture(name)), None)
    if best is None:
        return 2, 0.0
    return (0, -(best.top1 or 0.0)) if best.bundled else (1, 0.0)


def has_classes(name: str) -> bool:
    """Whether the outputs of a checkpoint are classes; those of fresh weights are taken for such."""
    row = recipe(name)
    return row.labels is not None or (row.source == FRESH and row.num_classes > 0)


def class_names(row: Checkpoint) -> tuple[str, ...] | None:
    return labels.names(row.labels) if row.labels else None


def find_class(row: Checkpoint, text: str) -> int | None:
    """Read what a person typed as a class: a number, a whole name, or a part that fits one name only. None if blank."""
    text = text.strip()
    if not text:
        return None
    if text.isdecimal():
        if int(text) >= row.num_classes:
            raise EngineError(f"This model has classes 0 to {row.num_classes - 1}; there is no class {text}.")
        return int(text)
    names = class_names(row)
    if names is None:
        raise EngineError("The outputs of this model have no names: give the class as a number.")
    exact = [i for i, name in enumerate(names) if name.lower() == text.lower()]
    near = exact or [i for i, name in enumerate(names) if text.lower() in name.lower()]
    if len(near) != 1:
        found = ", ".join(names[i] for i in near[:5])
        raise EngineError(f"{text!r} fits {len(near)} classes: {found} …" if near else f"No class is called {text!r}.")
    return near[0]


def guesses(logits: Tensor, row: Checkpoint, count: int = 5) -> list[Guess]:
    """The most probable classes for logits (classes,)."""
    names = class_names(row)
    if names is None:
        return []
    probability, index = logits.softmax(0).topk(min(count, len(logits)))
    pairs = zip(index.tolist(), probability.tolist(), strict=True)
    return [Guess(i, names[i], p) for i, p in pairs]


@dataclass(frozen=True)
class Request:
    """How photos are to be looked at. Classes are given as a person types them; blank: each photo's first guess."""

    model: str
    method: str = "grad_cam"
    target: str = ""
    contrast: str = ""
    layer: str = ""  # number of an attention layer, or name of a tap; blank: the last, or where the head reads
    head: int = -1  # of that layer; -1: the mean of all
    signed: bool = False  # draw what speaks against, too
    together: bool = False  # one colour scale, and one basis of features, for all photos
    clicked: tuple[int, Place] | None = None  # number of a photo, and the place in it that is asked about


@_within_memory()
def look(request: Request, photos: list[Image.Image], progress: explain.Progress = explain.silent) -> list[Look]:
    """Classify photos (RGB) and show where the model looked. Raises EngineError."""
    row, model = recipe(request.model), STORE.get(request.model)
    x = torch.stack([preprocess(photo, row) for photo in photos]).to(device())
    with torch.inference_mode():
        logits = model(x).float().cpu()
    small = [fit_page(photo) for photo in photos]
    boxes = [_box(photo, page, row) for photo, page in zip(photos, small, strict=True)]
    options = _options(request, row, small, boxes)
    maps, problem = _explain(request, options, model, x, progress)
    drawn = _draw(request, maps, row, small, boxes) if maps else [None] * len(photos)
    notes = [problem] if problem else maps.notes if maps else []
    if not has_classes(request.model):
        notes = [NO_CLASSES, *notes]
    return [
        Look(
            photo=small[i],
            seen=seen(photo, row),
            guesses=guesses(logits[i], row) if "." in request.model else [],
            map=drawn[i],
            asking=_asking(maps, small[i], boxes[i]) if options.get("picture", i) == i else None,
            notes=[*notes],
        )
        for i, photo in enumerate(photos)
    ]


@_within_memory()
def evaluate(
    request: Request, photos: list[Image.Image], progress: explain.Progress = explain.silent
) -> faithfulness.Evaluation:
    """Try the chosen map on photos (RGB), beside controls. Raises EngineError."""
    row, model = recipe(request.model), STORE.get(request.model)
    x = torch.stack([preprocess(photo, row) for photo in photos]).to(device())
    boxes = [_box(photo, photo, row) for photo in photos]
    return faithfulness.evaluate(model, x, request.method, progress, **_options(request, row, photos, boxes))


def fit_page(photo: Image.Image) -> Image.Image:
    """Bring a photo to a size that a page can show."""
    least, most = SHOWN
    longest = max(photo.size)
    factor = min(max(longest, least), most) / longest
    width, height = (max(1, round(side * factor)) for side in photo.size)
    return photo.resize((width, height), Image.Resampling.LANCZOS)


def _box(photo: Image.Image, page: Image.Image, row: Checkpoint) -> Box:
    """Where what the model sees of a photo lies on its copy for the page."""
    across, down = page.width / photo.width, page.height / photo.height
    left, top, right, bottom = view(photo.size, row).box
    return left * across, top * down, right * across, bottom * down


def _options(request: Request, row: Checkpoint, photos: list[Image.Image], boxes: list[Box]) -> dict[str, Any]:
    """What the chosen method is told; a clicked place becomes one of the region that the model sees, `boxes`."""
    method = explain.METHODS[request.method]
    options: dict[str, Any] = {}
    if method.by_class:
        options |= {"target": find_class(row, request.target), "contrast": find_class(row, request.contrast)}
    if method.takes("layer"):
        if request.layer and not request.layer.isdecimal():
            raise EngineError(f"Layers of attention have numbers; {request.layer!r} is none.")
        options |= {"layer": int(request.layer or -1), "head": None if request.head < 0 else request.head}
    if method.takes("tap") and request.layer:
        options["tap"] = request.layer
    if method.takes("joint"):
        options["joint"] = request.together
    if request.clicked and method.takes("query") and request.clicked[0] < len(photos):
        i, (down, across) = request.clicked
        left, top, right, bottom = boxes[i]
        place = (down * photos[i].height - top) / (bottom - top), (across * photos[i].width - left) / (right - left)
        if not all(0 <= share <= 1 for share in place):
            raise EngineError("The place that was clicked lies outside what the model saw: click inside the crop.")
        options["query"] = place
        if method.takes("picture"):
            options["picture"] = i
    return options


def _explain(
    request: Request, options: dict[str, Any], model: Backbone, x: Tensor, progress: explain.Progress
) -> tuple[explain.Explanation | None, str | None]:
    """Make the maps asked for, or say in a sentence why there are none."""
    if explain.METHODS[request.method].slow:
        options = options | {"progress": progress}
    try:
        return explain.explain(model, x, request.method, **options), None
    except explain.ExplanationError as error:
        return None, str(error)


def _draw(
    request: Request, maps: explain.Explanation, row: Checkpoint, photos: list[Image.Image], boxes: list[Box]
) -> list[Map]:
    """Lay each map over its photo."""
    raw = [values.double().numpy() for values in maps.raw]
    features = raw[0].ndim == 3
    groups = [raw] * len(raw) if request.together else [[values] for values in raw]  # what shares each map's colours
    drawn = []
    for i, (values, group, photo, box) in enumerate(zip(raw, groups, photos, boxes, strict=True)):
        top = None
        if features:
            low, high = np.quantile(group, (0.02, 0.98), axis=(0, 2, 3))
            layer = render.feature_layer(values, photo.size, box, low, high)
        else:
            top = render.common_top(group, request.signed)
            layer = render.layer(values, photo.size, box, top, request.signed)
        known = {"model": request.model, **export.facts(maps, i)}
        drawn.append(Map(layer, values, known, _target_name(maps, i, row), top))
    return drawn


def _asking(maps: explain.Explanation | None, photo: Image.Image, box: Box) -> Place | None:
    """Where on a photo the place that a map is about lies."""
    if maps is None or maps.query is None:
        return None
    (down, across), (left, top, right, bottom) = maps.query, box
    return (top + down * (bottom - top)) / photo.height, (left + across * (right - left)) / photo.width


def _target_name(maps: explain.Explanation, i: int, row: Checkpoint) -> str | None:
    if maps.target is None:
        return None
    names = class_names(row)
    name = [names[c] if names else f"class {c}" for c in (maps.target[i], maps.contrast) if c is not None]
    return " rather than ".join(name)


@_within_memory()
def time_it(model: str, seconds: float = 2.0, stop: Callable[[], bool] | None = None) -> Timing:
    """Time the forward pass on this machine at the checkpoint's own picture size, batch 1."""
    return measure(STORE.get(model), recipe(model).size, seconds=seconds, stop=stop)
