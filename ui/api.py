"""Endpoints for other programs: finding models, classifying, explaining, timing. Gradio's API page lists them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from inspect import getdoc, iscoroutinefunction, signature
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints, is_typeddict

import gradio as gr
from gradio.data_classes import FileData
from gradio.events import api
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from pydantic import Field, ValidationError, validate_call

import engine
import zoo
from engine import EngineError, Job, Look, Looks, Request, Timing, sweep
from engine.images import decode
from engine.search import LONGEST
from engine.table import lines, nearest, terms
from explain import METHODS, export
from ui import facts, model_card, uploads, work
from ui.results import (
    Alternative,
    Architecture,
    Card,
    Cell,
    Classified,
    Column,
    Compared,
    Facts,
    Guess,
    Latency,
    Pair,
    Point,
    Weighted,
)
from zoo.catalogue import Checkpoint

NO_PHOTO = "There is no photo: send a file, in Python with gradio_client.handle_file."
COLUMNS = 4  # models, or explanations, side by side
NO_METHOD = f"There is no such explanation: method is one of {', '.join(METHODS)}."

Query = Annotated[str, "words, all of which must occur; or a glob; blank for all"]
Limit = Annotated[int, Field(ge=1, le=2000), "the most answers to give"]
Photo = Annotated[FileData, "a file, opened as the page opens it"]
Model = Annotated[str, Field(max_length=LONGEST), "a checkpoint, or an architecture alone, which has random weights"]
Top = Annotated[int, Field(ge=1, le=20), "how many guesses to give, 1 to 20"]
Method = Annotated[str, Field(max_length=LONGEST), f"one of {', '.join(METHODS)}"]
Class = Annotated[str, Field(max_length=200), "a class by number, name or part of its name; blank for the first guess"]
Against = Annotated[str, Field(max_length=200), "explain the class compared with this one; blank for none"]
Layer = Annotated[
    str, Field(max_length=LONGEST), "number of an attention layer, or name of a stage; blank for the last"
]
Head = Annotated[int, Field(ge=-1), "of that attention layer; -1 for the mean of all"]
Signed = Annotated[bool, "whether to draw evidence against the class, too"]
Share = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[
    tuple[Share, Share] | None, "where in the photo to ask, down and across from 0 to 1; null for all of it"
]
Precision = Annotated[Literal["float32", "bfloat16"], "bfloat16 is faster and less exact"]
Timed = Annotated[
    Literal["fast", "plain", "compiled"],
    "what is timed: the model accelerated by zoo, as it is written, or compiled by torch.compile",
]
Photos = Annotated[list[FileData], "files, opened as the page opens them, up to 12"]
Models = Annotated[list[Model], "checkpoints, or architectures alone, which have random weights"]
Methods = Annotated[list[Method], f"none for guesses alone; else of {', '.join(METHODS)}"]
Vary = Annotated[Literal["batch", "image", "threads", "format"], "what differs from point to point"]
Values = Annotated[list[int], "batch sizes, sides of an image in pixels, or counts of threads; none: the usual ones"]
Seconds = Annotated[float, Field(gt=0, le=10), "how long to measure, up to 10"]


def layout() -> None:
    """Place the endpoints. They have no part that is visible."""
    for function in ENDPOINTS:
        queue = function in (classify, explain, latency, compare, measure)
        api(function, api_name=function.__name__, api_description=described(function), queue=queue)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show what a caller can cause as its sentence alone, without a traceback."""
    try:
        yield
    except EngineError as error:
        raise gr.Error(str(error), print_exception=False) from error
    except ValidationError as error:
        first = error.errors()[0]
        name, message = first["loc"][0], f"{first['msg'][0].lower()}{first['msg'][1:]}"
        sentence = NO_PHOTO if name in ("photo", "photos") else f"Wrong {name}: {message}."
        raise gr.Error(sentence, print_exception=False) from error


def endpoint(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Check the arguments against their types first; run what is not a coroutine in a thread."""
    checked, names = validate_call(function), list(signature(function).parameters)

    @wraps(function)
    async def answered(*values: Any) -> Any:
        given = dict(zip(names, values, strict=True))
        with plain_errors():
            if iscoroutinefunction(function):
                return await checked(**given)
            return await asyncio.to_thread(checked, **given)

    return answered


@endpoint
def models(query: Query = "", limit: Limit = 50) -> list[Architecture]:
    """Find architectures: those with a checkpoint that needs no download first, then the most accurate."""
    found = [name for name in engine.find_models(query, limit=None) if "." not in name]
    return [_architecture(name) for name in found[:limit]]


@endpoint
def checkpoints(query: Query = "", limit: Limit = 50) -> list[Weighted]:
    """Find checkpoints by their names or their architectures: those that need no download first, best first."""
    offline = {row.name for row in engine.on_this_machine()}
    found = [zoo.checkpoint(name) for name in engine.find_models(query, limit=None) if "." in name]
    return [_weighted(row, row.name in offline) for row in found[:limit]]


@endpoint
def card(model: Model) -> Card:
    """Say what is known about a model: the idea, what an image costs, the licence, and what is near it."""
    line = model_card.opened(model)
    price = line.cost()
    near = [Alternative(model=other.name, reason=reason) for other, reason in nearest(line, lines())]
    return Card(
        model=line.name,
        sentences=model_card.sentences(line, price),
        family=line.family.name,
        papers=line.family.paper.split(", "),
        year=line.family.year,
        parameters=price.parameters,
        macs=price.macs,
        activations=price.activations,
        input_size=list(line.size),
        accuracy=line.accuracies,
        stages=[[name, *shape] for name, shape in price.stages],
        checkpoints=[row.name for row in engine.offered(line.architecture)],
        licence=line.row.license if line.row else None,
        allows=terms(line.row.license) if line.row else None,
        alternatives=near,
    )


@endpoint
async def classify(photo: Photo, model: Model, top: Top = 5, precision: Precision = "float32") -> Classified:
    """Name the most probable classes of a photo, and do nothing else: /explain makes maps."""
    look, row = await _look(photo, Request(model, method="", precision=precision)), engine.recipe(model)
    note = " ".join([*_random(row), *look.notes])
    guesses = [Guess(**asdict(guess)) for guess in look.guesses[:top]]
    return Classified(model=model, weights=_weights(row), note=note or None, guesses=guesses)


@endpoint
async def explain(
    photo: Photo,
    model: Model,
    method: Method = "grad_cam",
    target: Class = "",
    contrast: Against = "",
    layer: Layer = "",
    head: Head = -1,
    signed: Signed = False,
    place: Place = None,
) -> tuple[FileData, FileData, Facts]:
    """Show where a model looked: the map over the photo (PNG), its values (NPY: signed, not rescaled), and its facts.

    Slow methods take hundreds of passes through the model.
    """
    if method not in METHODS:
        raise EngineError(NO_METHOD)
    clicked = None if place is None else (0, place)
    look = await _look(photo, Request(model, method, target, contrast, layer, head, signed, clicked=clicked))
    if look.map is None:
        raise EngineError(look.notes[-1])
    row, known = engine.recipe(model), look.map.facts
    files = export.files(look.map.values, known, decode(look.photo), decode(look.map.layer))
    told = {"weights": _weights(row), "label": look.map.target, "notes": [*_random(row), *look.notes]}
    return _file("overlay.png", files), _file("map.npy", files), Facts(**known | told)


@endpoint
async def latency(
    model: Model, seconds: Seconds = 2.0, way: Timed = "fast", precision: Precision = "float32"
) -> Latency:
    """Time a checkpoint or architecture on the server: passes of one image, in milliseconds."""
    request = Request(model, precision=precision)
    job = Job("time", request, way=way, seconds=seconds, visitor=work.visitor())
    timing = await work.answer(job)
    assert isinstance(timing, Timing)
    return Latency(**asdict(timing), method=timing.sentence())


@endpoint
async def compare(photos: Photos, models: Models, methods: Methods) -> Compared:
    """Compare two to four models, or explanations of one, on photos: what each says, and who agrees with whom.

    Every model is asked for every explanation, in four columns at most. /explain gives the maps themselves.
    """
    pairs = [(model, method) for model in models for method in methods or [""]]
    requests = list(dict.fromkeys(Request(*pair) for pair in pairs))
    if not 2 <= len(requests) <= COLUMNS:
        raise EngineError(f"Two to {COLUMNS} columns are compared, and this makes {len(requests)}.")
    if not 1 <= len(photos) <= uploads.MOST:
        raise EngineError(uploads.TOO_MANY if photos else NO_PHOTO)
    if not METHODS.keys() >= set(methods):
        raise EngineError(NO_METHOD)
    for model in models:
        engine.recipe(model)
    files = [_uploaded(photo) for photo in photos]
    looks = [[await _said(file, request) for file in files] for request in requests]
    return Compared(
        columns=[_column(request, column) for request, column in zip(requests, looks, strict=True)],
        pairs=[_pair(i, j, requests, looks) for i, j in combinations(range(len(requests)), 2)],
    )


@endpoint
async def measure(models: Models, vary: Vary = "batch", values: Values = [], seconds: Seconds = 1.0) -> list[Point]:  # noqa: B006
    """Time models while one thing is varied, as the page's tab Measure does."""
    if not 1 <= len(models) <= COLUMNS:
        raise EngineError(f"One to {COLUMNS} models are measured at a time.")
    found = []
    for model in models:
        engine.recipe(model)
        for point in sweep.points(vary, values):
            try:
                timing = await work.answer(point.job(model, seconds, work.visitor()))
            except EngineError as error:
                found.append(Point(model=model, value=point.label, latency=None, problem=str(error)))
                continue
            assert isinstance(timing, Timing)
            told = Latency(**asdict(timing), method=timing.sentence())
            found.append(Point(model=model, value=point.label, latency=told, problem=None))
    return found


ENDPOINTS = (models, checkpoints, card, classify, explain, latency, compare, measure)


def described(function: Callable[..., Any]) -> str:
    """The docstring of an endpoint, and what each argument and each field of its answer means."""
    told = signature(function)
    hints, answer = {name: given.annotation for name, given in told.parameters.items()}, told.return_annotation
    fields = {
        name: hint for part in _records(answer) for name, hint in get_type_hints(part, include_extras=True).items()
    }
    return "\n\n".join([getdoc(function) or "", f"Takes {_meanings(hints)}.", f"Answers {_meanings(fields)}."])


def _records(hint: Any) -> Iterator[type]:
    """The typed dictionaries that a type holds."""
    parts = get_type_hints(hint, include_extras=True).values() if is_typeddict(hint) else get_args(hint)
    if is_typeddict(hint):
        yield hint
    for part in parts:
        yield from _records(part)


def _meanings(hints: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {hint.__metadata__[-1]}" for name, hint in hints.items())


def _uploaded(photo: FileData) -> engine.Photo:
    """Read an uploaded photo. Raises EngineError."""
    (file,) = uploads.read([{"path": photo.path, "name": (photo.orig_name or Path(photo.path).name)[-LONGEST:]}])
    return file


async def _look(photo: FileData, request: Request) -> Look:
    """Classify, and explain if the request says so, one uploaded photo. Raises EngineError."""
    look = await _said(_uploaded(photo), request)
    if isinstance(look, str):
        raise EngineError(look)
    return look


async def _said(file: engine.Photo, request: Request) -> Look | str:
    """A look, or why there is none."""
    try:
        looks = await work.answer(Job("look", request, (file,), visitor=work.visitor()))
    except EngineError as error:
        return str(error)
    assert isinstance(looks, Looks)
    return looks.photos[0]


def _column(request: Request, looks: list[Look | str]) -> Column:
    cells = [
        Cell(guesses=[], problem=look)
        if isinstance(look, str)
        else Cell(guesses=[Guess(**asdict(guess)) for guess in look.guesses[:5]], problem=None)
        for look in looks
    ]
    kept = work.the_engine().timed(Request(request.model)).get("fast")
    ms = kept.timing.median_ms if kept else None
    return Column(model=request.model, method=request.method or None, latency_ms=ms, photos=cells)


def _pair(i: int, j: int, requests: list[Request], looks: list[list[Look | str]]) -> Pair:
    comparable = engine.same_classes(requests[i].model, requests[j].model)
    unknown: list[bool | None] = [None for _ in looks[i]]
    same = engine.agreement(looks[i], looks[j]) if comparable else unknown
    return Pair(between=[i, j], same=same, correlation=engine.mean_alike(looks[i], looks[j]))


def _architecture(name: str) -> Architecture:
    family, first = zoo.family_of(name), next(iter(engine.offered(name)), None)
    return Architecture(
        architecture=name,
        family=family.name if family else None,
        paradigm=family.paradigm if family else None,
        checkpoint=first.name if first else None,
        top1=first.top1 if first else None,
        data_set=_data_set(first) if first else None,
        offline=first is not None and zoo.is_local(first),
    )


def _weighted(row: Checkpoint, offline: bool) -> Weighted:
    return Weighted(
        name=row.name,
        architecture=row.architecture,
        classes=row.num_classes,
        data_set=_data_set(row),
        top1=row.top1,
        licence=row.license,
        source=row.source,
        offline=offline,
        input_size=list(row.size),
    )


def _data_set(row: Checkpoint) -> str | None:
    return facts.data_set(row) or None


def _weights(row: Checkpoint) -> str:
    return "random" if row.source == engine.RANDOM else row.source


def _random(row: Checkpoint) -> list[str]:
    """The sentence to say where weights are random."""
    if row.source != engine.RANDOM:
        return []
    published = engine.offered(row.name)
    instead = f"such as {published[0].name}" if published else "of another architecture, as this one has none"
    return [f"{row.name} is an architecture, so its weights are random: for guesses, give a checkpoint, {instead}."]


def _file(name: str, files: dict[str, bytes]) -> FileData:
    """One of the files, put where gradio serves it from and deletes it after an hour."""
    return FileData(path=save_bytes_to_cache(files[name], name, get_upload_folder()), orig_name=name)
