"""Every model as a line of a table: what is known about it, filters, orders, and which others are near it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import zoo
from engine.jobs import Seen
from engine.search import find_models
from zoo.catalogue import Accuracy, Checkpoint, Family, Figures, figures

NONCOMMERCIAL = {"nc", "noncommercial", "research", "amlr"}  # words in names of licences
ANY_USE = "apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0"
UNKNOWN = "unknown", "unstated"
NO_COMMERCE = "no commercial use"
SIZES = {"up to 10 M": 10e6, "10 to 30 M": 30e6, "30 to 100 M": 100e6, "over 100 M": float("inf")}  # parameters
SPEEDS = {"up to 10 ms": 10.0, "10 to 30 ms": 30.0, "30 to 100 ms": 100.0, "over 100 ms": float("inf")}
UNTIMED = "not timed"
SIDES = {"up to 224": 224, "225 to 299": 299, "300 and more": float("inf")}  # pixels, the longer side of the image


@dataclass(frozen=True)
class Line:
    """A checkpoint, or an architecture of which none is published."""

    name: str
    family: Family
    figures: Figures
    size: tuple[int, int]  # height and width of the image, in pixels
    row: Checkpoint | None  # None: random weights only
    accuracy: Accuracy | None  # published, at this size
    offline: bool
    ms: float | None = None  # measured on this machine: the accelerated model, one image in float32
    looks: int = 0  # times that it was looked at on this machine

    @property
    def architecture(self) -> str:
        return self.name.partition(".")[0]

    @property
    def paradigm(self) -> str:
        """That of its architecture: DINOv3's paper, for one, has checkpoints of ViTs and of ConvNeXts."""
        own = zoo.family_of(self.architecture)
        return (own or self.family).paradigm

    @property
    def labels(self) -> str | None:
        return self.row and self.row.labels

    @property
    def top1(self) -> float | None:
        return self.row and self.row.top1

    @property
    def accuracies(self) -> dict[str, float]:
        """Published top-1 by test set; empty if there is none at this size."""
        return {name: pair[0] for name, pair in vars(self.accuracy).items() if pair} if self.accuracy else {}

    def cost(self) -> zoo.Cost:
        """Count what it costs, with its stages and its layers of attention."""
        return zoo.cost(self.architecture, self.size, self.row and self.row.num_classes)


def terms(licence: str) -> str:
    """What a licence allows, by its name: a guide to its text, and no legal advice."""
    if NONCOMMERCIAL.intersection(licence.lower().split("-")):
        return NO_COMMERCE
    if licence.lower() in UNKNOWN:
        return "not stated"
    return "any use" if licence.lower() in ANY_USE else "read its terms"


def _step(value: float, steps: Mapping[str, float]) -> str:
    return next(name for name, most in steps.items() if value <= most)


FACETS: dict[str, Callable[[Line], Sequence[str]]] = {  # heading of a filter -> the values that a line has
    "Classes": lambda line: [line.labels or "none"],
    "Paradigm": lambda line: [line.paradigm],
    "Use": lambda line: [line.family.use_case],
    "Training": lambda line: line.family.training.split(", "),
    "Licence": lambda line: [terms(line.row.license) if line.row else "no weights"],
    "Parameters": lambda line: [_step(line.figures.parameters, SIZES)],
    "Image side": lambda line: [_step(max(line.size), SIDES)],
    "Latency here": lambda line: [UNTIMED if line.ms is None else _step(line.ms, SPEEDS)],
    "Weights": lambda line: ["offline" if line.offline else "download" if line.row else "random only"],
}
COLUMNS: dict[str, Callable[[Line], float | str | None]] = {  # what the table can be ordered by
    "name": lambda line: line.name,
    "top1": lambda line: line.top1,
    "real": lambda line: line.accuracies.get("real"),
    "v2": lambda line: line.accuracies.get("v2"),
    "a": lambda line: line.accuracies.get("a"),
    "r": lambda line: line.accuracies.get("r"),
    "sketch": lambda line: line.accuracies.get("sketch"),
    "ms": lambda line: line.ms,
    "looks": lambda line: line.looks or None,
    "parameters": lambda line: line.figures.parameters,
    "macs": lambda line: line.figures.macs,
    "activations": lambda line: line.figures.activations,
    "side": lambda line: line.size[0] * line.size[1],
    "year": lambda line: line.family.year,
    "paradigm": lambda line: line.paradigm,
}
HIGH_FIRST = {"top1", "real", "v2", "a", "r", "sketch", "looks", "year"}


def values(heading: str) -> list[str]:
    """The values that a filter can have: sizes from small to large, others by name."""
    steps = {"Parameters": SIZES, "Image side": SIDES, "Latency here": [*SPEEDS, UNTIMED]}
    return list(steps.get(heading, ())) or sorted({value for line in lines() for value in FACETS[heading](line)})


def lines() -> Sequence[Line]:
    """Every checkpoint, and every architecture that has none, in the catalogue's order."""
    return _lines(frozenset(row.name for row in zoo.all_local()))


def seen_here(among: Sequence[Line], seen: Seen) -> list[Line]:
    """The same lines with what this machine learned. Checkpoints of one architecture and size share their latency."""
    of_random = {key[:3]: ms for key, ms in seen.ms.items()}  # however many classes

    def known(line: Line) -> Line:
        built = line.architecture, *line.size
        ms = seen.ms.get((*built, line.row.num_classes)) if line.row else of_random.get(built)
        looks = seen.looks.get(line.name, 0)
        return line if ms is None and not looks else replace(line, ms=ms, looks=looks)

    return [known(line) for line in among] if seen.ms or seen.looks else list(among)


@lru_cache(maxsize=1)  # built anew only when a checkpoint came or went
def _lines(here: frozenset[str]) -> tuple[Line, ...]:
    found = list[Line]()
    for row in zoo.checkpoints().values():
        if family := row.family:
            price = figures()[(row.architecture, *row.size, row.num_classes)]
            known = zoo.accuracy(row.name).get(row.size[0])
            found.append(Line(row.name, family, price, row.size, row, known, row.name in here))
    own = {model[0]: (price, model[1:3]) for model, price in reversed(figures().items())}
    published = {line.architecture for line in found}
    for family in zoo.all_families():  # not zoo.names(), which would import every family before the page is there
        for name in family.architectures:
            if name not in published:
                price, size = own[name]
                found.append(Line(name, family, price, size, None, None, False))
    return tuple(found)


@dataclass(frozen=True)
class Wanted:
    """Which lines to show, and in what order."""

    query: str = ""
    facets: Mapping[str, Sequence[str]] = field(default_factory=dict)  # heading of a filter -> the values allowed
    order: str = "top1"  # one of COLUMNS
    reverse: bool = False  # worst first


def find(wanted: Wanted, among: Sequence[Line]) -> list[Line]:
    """The lines that fit, in order; lines without a value come last either way. Raises EngineError for a bad query."""
    allowed = {heading: set(values) for heading, values in wanted.facets.items() if values}
    kept = [line for line in among if all(allowed[heading].intersection(FACETS[heading](line)) for heading in allowed)]
    if wanted.query.strip():
        rank = {name: i for i, name in enumerate(find_models(wanted.query, limit=None))}
        kept = [line for line in kept if line.name in rank]
    value = COLUMNS[wanted.order]
    known = [line for line in kept if value(line) is not None]
    high = (wanted.order in HIGH_FIRST) != wanted.reverse
    ordered = sorted(known, key=value, reverse=high)  # type: ignore[arg-type]
    return ordered + [line for line in kept if value(line) is None]


def front(among: Iterable[Line], price: Callable[[Line], float | None]) -> list[Line]:
    """The lines that no other one beats: nothing cheaper is as accurate. The cheapest first."""
    best, kept = float("-inf"), []
    known = [(cost, line) for line in among if (cost := price(line)) is not None and line.top1 is not None]
    for _, line in sorted(known, key=lambda pair: (pair[0], -(pair[1].top1 or 0.0))):
        if line.top1 is not None and line.top1 > best:
            best = line.top1
            kept.append(line)
    return kept


def nearest(line: Line, among: Sequence[Line]) -> list[tuple[Line, str]]:
    """Up to five other architectures near a model in accuracy, size or kind, each with the reason."""
    others = [other for other in among if other.architecture != line.architecture and other.labels == line.labels]
    others = [other for other in others if other.row or not line.row]
    small, large = 0.8 * line.figures.parameters, 1.25 * line.figures.parameters
    alike = [other for other in others if small <= other.figures.parameters <= large]
    found: dict[str, tuple[Line, str]] = {}

    def offer(candidates: Iterable[Line], reason: str) -> None:
        one = next((other for other in candidates if other.architecture not in found), None)
        if one:
            found[one.architecture] = one, reason

    if (top1 := line.top1) is not None:
        rated = [other for other in others if other.top1 is not None]
        good = [other for other in rated if (other.top1 or 0.0) >= top1]
        close = [other for other in rated if abs((other.top1 or 0.0) - top1) <= 1.0]
        better = [other for other in good if other in alike]
        offer(sorted(better, key=lambda o: -(o.top1 or 0.0)), "the most accurate of about this size")
        offer(sorted(good, key=lambda o: o.figures.parameters), "the smallest that is as accurate")
        offer(sorted(good, key=lambda o: o.figures.macs), "as accurate with the fewest multiply-adds")
        foreign = [other for other in close if other.paradigm != line.paradigm]
        offer(_by_size(foreign, line), "as accurate within a point, of another paradigm")
    kin = [other for other in others if other.family == line.family]
    offer(_by_size(kin, line), "the nearest in size of its family")
    offer(_by_size([o for o in others if o.paradigm == line.paradigm], line), "the nearest of its kind")
    offer(_by_size(others, line), "the nearest in size")
    return list(found.values())[:5]


def _by_size(among: Iterable[Line], line: Line) -> list[Line]:
    """The nearest in the number of parameters first; of those alike, the most accurate."""

    def apart(other: Line) -> tuple[float, float]:
        ratio = other.figures.parameters / line.figures.parameters
        return max(ratio, 1 / ratio), -(other.top1 or 0.0)

    return sorted(among, key=apart)
