"""Several models, or several explanations, on the same photos: who agrees with whom, and who is right.

The answers are columns, one for each model or explanation, of looks, one for each photo; a string stands for a photo or
a model that failed.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from engine.jobs import Look, Map
from engine.search import recipe
from explain.render import sample

Column = Sequence[Look | str]

PLACES, FINE = 14, 16  # places along a side at which two maps are compared, and readings along a side of each


def first_class(look: Look | str) -> str | None:
    """The most probable class, if there is one."""
    return look.guesses[0].label if isinstance(look, Look) and look.guesses else None


def same_classes(one: str, other: str) -> bool:
    """Whether two models tell the same classes apart."""
    return recipe(one).labels == recipe(other).labels


def agreement(one: Column, other: Column) -> list[bool | None]:
    """For each photo, whether two models of the same classes name the same one first; None where one names none."""
    pairs = [(first_class(a), first_class(b)) for a, b in zip(one, other, strict=True)]
    return [None if a is None or b is None else a == b for a, b in pairs]


def outsiders(photo: Sequence[Look | str]) -> set[int]:
    """The columns whose first class is not the one that more than half of the columns with a class name."""
    named = {number: name for number, look in enumerate(photo) if (name := first_class(look))}
    label, count = Counter(named.values()).most_common(1)[0] if named else ("", 0)
    if 2 * count <= len(named):
        return set()
    return {number for number, name in named.items() if name != label}


def winner(photo: Sequence[Look | str], truths: Sequence[int | None]) -> int | None:
    """The column that gives the true class the highest probability; `truths` is its number in each column's classes."""
    known = [
        (float(look.probabilities[truth]), -number)
        for number, (look, truth) in enumerate(zip(photo, truths, strict=True))
        if isinstance(look, Look) and look.probabilities is not None and truth is not None
    ]
    return -max(known)[1] if len(known) > 1 else None


def alike(one: Look | str, other: Look | str) -> float | None:
    """Correlation of two maps, -1 to 1, at 14 x 14 places of the part of the photo that both models saw.

    None if there are not two maps with one value a place, or if one is even.
    """
    maps = [look.map for look in (one, other) if isinstance(look, Look)]
    drawn = [map for map in maps if map and map.values.ndim == 2]
    if len(drawn) < 2:
        return None
    boxes = np.array([_box(map) for map in drawn])
    shared = (*boxes[:, :2].max(0), *boxes[:, 2:].min(0))  # left, top, right, bottom: shares of the photo
    readings = [_read(map, shared) for map in drawn]
    if min(values.std() for values in readings) == 0:
        return None
    return float(np.corrcoef(readings[0].ravel(), readings[1].ravel())[0, 1])


def _box(map: Map) -> tuple[float, ...]:
    """What the model saw, as shares of the photo's width and height."""
    (width, height), (left, top, right, bottom) = map.placement.size, map.placement.box
    return left / width, top / height, right / width, bottom / height


def _read(map: Map, shared: tuple[float, ...]) -> np.ndarray:
    """The map's means over the places of a part of the photo. (PLACES, PLACES)."""
    own, steps = _box(map), (np.arange(PLACES * FINE) + 0.5) / (PLACES * FINE)
    left, top, right, bottom = shared
    rows = (top + steps * (bottom - top) - own[1]) / (own[3] - own[1]) * map.placement.seen[0]
    cols = (left + steps * (right - left) - own[0]) / (own[2] - own[0]) * map.placement.seen[1]
    values = sample(map.values, map.cells, rows, cols)
    return values.reshape(PLACES, FINE, PLACES, FINE).mean((1, 3))


def mean_alike(one: Column, other: Column) -> float | None:
    """The mean correlation of two columns' maps over the photos; None if there is none."""
    found = [value for a, b in zip(one, other, strict=True) if (value := alike(a, b)) is not None]
    return sum(found) / len(found) if found else None
