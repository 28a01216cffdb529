"""Files for a visitor to save; they are made on request."""

import csv
import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from engine.compare import Column
from engine.images import decode
from engine.jobs import EngineError, Look, Map, Request
from explain import export

PREDICTIONS = "predictions.csv"
COMPARED, LISTED = ("photo", "model", "explanation"), 5  # what names a cell, and how many of its classes are listed
LONGEST = 100  # characters of a folder's name
UNSAFE = re.compile(r"[^\w .()+-]")
EDGES = " .+-"  # a name may not begin or end with these: hidden files, options, formulas of a spreadsheet
NO_PROBABILITIES = "This model has no probabilities to save: choose trained weights whose classes have names."


def archive(look: Look) -> bytes:
    """A ZIP of the map's values (NPY), how it was made (JSON), and its layer, alone and over the photo (PNG)."""
    if look.map is None:
        raise EngineError("There is no map of this photo to save: choose an explanation that this model allows.")
    return _zip(_files(look, look.map))


def archive_all(
    looks: Sequence[tuple[str, Look]], names: Sequence[str] | None = None, truths: Sequence[int | None] | None = None
) -> bytes:
    """A ZIP of all photos: a folder for each one's map, named after its file, and predictions.csv.

    `names` are those of the classes; `truths` the class that each photo shows, None where it is not known.
    """
    if not looks:
        raise EngineError("There is nothing to save yet: classify a photo first.")
    folders = _safe([file for file, _ in looks])
    files: dict[str, bytes] = {}
    for folder, (_, look) in zip(folders, looks, strict=True):
        if look.map is not None:
            files |= {f"{folder}/{name}": content for name, content in _files(look, look.map).items()}
    rows = [
        row
        for folder, (_, look), truth in zip(folders, looks, truths or [None] * len(looks), strict=True)
        for row in _predictions(folder, look, names, truth)
    ]
    table = written(["photo", "rank", "class index", "class", "probability", "truth", "right"], rows)
    return _zip({PREDICTIONS: table.encode(), **files})


def probabilities_csv(look: Look, names: Sequence[str]) -> str:
    """The probability of every class, the most probable first."""
    if look.probabilities is None:
        raise EngineError(NO_PROBABILITIES)
    order = (-look.probabilities).argsort(kind="stable").tolist()
    rows = ((rank, i, names[i], float(look.probabilities[i])) for rank, i in enumerate(order, 1))
    return written(["rank", "class index", "class", "probability"], rows)


def comparison_csv(
    photos: Sequence[str],
    requests: Sequence[Request],
    columns: Sequence[Column],
    truths: Sequence[Sequence[int | None]],
) -> str:
    """The most probable classes of several models, or with several explanations, for the same photos.

    `columns` and `truths` hold, for each request, a look or why there is none, and a class number, for each photo.
    """
    rows = list[tuple]()
    for number, photo in enumerate(_safe(photos)):
        for request, column, known in zip(requests, columns, truths, strict=True):
            look, truth, cell = column[number], known[number], (photo, request.model, request.method)
            if isinstance(look, str):
                rows.append((*cell, "", "", "", "", "", look))
                continue
            for rank, guess in enumerate(look.guesses[:LISTED], 1):
                right = "" if truth is None else "yes" if guess.index == truth else "no"
                rows.append((*cell, rank, guess.index, guess.label, guess.probability, right, ""))
    return written([*COMPARED, "rank", "class index", "class", "probability", "right", "problem"], rows)


def _predictions(photo: str, look: Look, names: Sequence[str] | None, truth: int | None) -> Iterable[tuple]:
    told = "" if truth is None else names[truth] if names else truth
    for rank, guess in enumerate(look.guesses, 1):
        right = "" if truth is None else "yes" if guess.index == truth else "no"
        yield photo, rank, guess.index, guess.label, guess.probability, told, right


def _files(look: Look, drawn: Map) -> dict[str, bytes]:
    return export.files(drawn.values, drawn.facts, decode(look.photo), decode(drawn.layer))


def _safe(files: Sequence[str]) -> list[str]:
    """Names for folders: no path, nothing that a system or a spreadsheet takes for more than a name, no two alike."""
    taken, safe = {PREDICTIONS}, []
    for file in files:
        cleaned = UNSAFE.sub("_", unicodedata.normalize("NFC", re.split(r"[/\\]", file)[-1])).strip(EDGES)
        stem, suffix = PurePosixPath(cleaned or "photo").stem[:LONGEST], PurePosixPath(cleaned).suffix[:10]
        name, number = stem + suffix, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        taken.add(name.casefold())
        safe.append(name)
    return safe


def written(head: Sequence[str], rows: Iterable[tuple]) -> str:
    """A table as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([head, *rows])
    return text.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as kept:
        for name, content in files.items():
            kept.writestr(name, content)
    return buffer.getvalue()
