"""What the page fetches beside itself: lists of models and of classes, and the examples, each with an ETag."""

import gzip
import hashlib
import io
import json
from collections import Counter
from functools import cache, lru_cache

from PIL import Image, ImageOps
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import engine
import zoo
from engine.search import best_first
from ui.facts import accuracy
from ui.uploads import EXAMPLES
from zoo import labels
from zoo.catalogue import Checkpoint

THUMBNAIL = 96  # pixels, square
ASK_AGAIN = "no-cache"  # the browser keeps a copy and asks each time whether it still holds
KEEP = "public, max-age=86400"  # for what changes only with a new version
UNTRAINED = "random weights only"
SEARCHED = "1"  # such a row is listed only once something is typed
KINDS = {".jpg": "image/jpeg", ".png": "image/png"}


def models(request: Request) -> Response:
    """Rows of a combobox: every architecture, the best first, then every checkpoint, listed only once one searches."""
    return answer(request, *_models(frozenset(row.name for row in zoo.all_local())), "application/json", ASK_AGAIN)


def classes(request: Request) -> Response:
    """Rows of a combobox: the classes of a label set, in the order of the outputs."""
    name = request.path_params["labels"]
    if name not in labels.COUNTS:
        return Response(status_code=404)
    return answer(request, *_classes(name), "application/json", KEEP)


def examples(request: Request) -> Response:
    """An example, whole, or with `?thumbnail` small."""
    name = request.path_params["name"]
    if name not in EXAMPLES:
        return Response(status_code=404)
    small = "thumbnail" in request.query_params
    data = _thumbnail(name) if small else EXAMPLES[name].read_bytes()
    return answer(request, data, None, "image/jpeg" if small else KINDS[EXAMPLES[name].suffix], KEEP)


ROUTES = [
    Route("/static/models.json", models),
    Route("/static/classes/{labels}.json", classes),
    Route("/static/examples/{name}", examples),
]


def answer(request: Request, data: bytes, packed: bytes | None, kind: str, keep: str) -> Response:
    """Give the data, packed if there is such a copy and the browser reads it; nothing if the browser has it already."""
    pack = packed is not None and "gzip" in request.headers.get("accept-encoding", "")
    digest = hashlib.sha256(data).hexdigest()[:16]
    tag = f'"{digest}-gzip"' if pack else f'"{digest}"'
    headers = {"ETag": tag, "Cache-Control": keep, "Vary": "Accept-Encoding"}
    asked = request.headers.get("if-none-match", "")
    if tag in (part.strip().removeprefix("W/") for part in asked.split(",")):
        return Response(status_code=304, headers=headers)
    if pack:
        headers["Content-Encoding"] = "gzip"
    return Response(packed if pack else data, media_type=kind, headers=headers)


@lru_cache(maxsize=1)  # built anew only when a checkpoint came or went
def _models(here: frozenset[str]) -> tuple[bytes, bytes]:
    first = {name: next(iter(engine.offered(name)), None) for name in zoo.names()}
    ordered = best_first(row for row in first.values() if row)
    rows = [_architecture(row, here) for row in sorted(ordered, key=lambda row: row.name not in here)]
    rows += [[name, name, UNTRAINED] for name, row in first.items() if row is None]
    checkpoints = zoo.checkpoints().values()
    rows += [[row.name, row.name, accuracy(row), _offline(row, here), "", "", "", SEARCHED] for row in checkpoints]
    return _packed(rows)


def _architecture(row: Checkpoint, here: frozenset[str]) -> list[str]:
    return [row.architecture, row.architecture, accuracy(row), _offline(row, here)]


def _offline(row: Checkpoint, here: frozenset[str]) -> str:
    return "offline" if row.name in here else ""


@cache
def _classes(label_set: str) -> tuple[bytes, bytes]:
    """The value of a class is its name, or its number where another differs only in capitals: engine.find_class."""
    names = labels.names(label_set)
    count = Counter(name.lower() for name in names)
    return _packed([[name if count[name.lower()] == 1 else str(i), name] for i, name in enumerate(names)])


def _packed(rows: list[list[str]]) -> tuple[bytes, bytes]:
    """Rows as JSON, as they are and packed."""
    data = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    return data, gzip.compress(data, mtime=0)


@cache
def _thumbnail(name: str) -> bytes:
    with Image.open(EXAMPLES[name]) as photo:
        small = ImageOps.fit(photo.convert("RGB"), (THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "jpeg", quality=85)
    return buffer.getvalue()
