"""Find models, and say what is known about one before anything is loaded."""

import re
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

import zoo
from engine.jobs import EngineError
from zoo import labels
from zoo.catalogue import Checkpoint
from zoo.cost import cost

RANDOM = "random weights"  # the source of a model that has no checkpoint
LABEL_SETS = (*labels.COUNTS, None)  # ImageNet's 1,000 classes first, CIFAR-10 after all of ImageNet, features last


def search(query: str, limit: int = 50) -> list[str]:
    """Architectures that match a query: offline ones first, ImageNet before CIFAR-10, the most accurate first.

    A query is words (all must occur in the name, the family, its section or its paradigm), a glob (`vit_*_384`) or a
    regular expression between slashes (`/resnet(18|34)$/`). Raises EngineError for a broken expression.
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
    here = list(dict.fromkeys(row.architecture for row in on_this_machine()))

    def place(name: str) -> int:
        if name in here:
            return here.index(name)
        return len(here) if zoo.for_architecture(name) else len(here) + 1  # last, those with random weights only

    return sorted(found, key=place)[:limit]


def _text(name: str) -> str:
    family = zoo.family_of(name)
    return name if family is None else f"{name} {family.name} {family.section} {family.paradigm}".lower()


def best_first(rows: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Sort checkpoints by what they know, then by accuracy: figures of two data sets do not compare."""
    return sorted(rows, key=lambda row: (LABEL_SETS.index(row.labels), -(row.top1 or 0.0)))


def on_this_machine() -> list[Checkpoint]:
    """Every checkpoint that needs no network and whose architecture is here, the best first."""
    names = set(zoo.names())
    return best_first(row for row in zoo.all_local() if row.architecture in names)


def offered(architecture: str) -> list[Checkpoint]:
    """The checkpoints of an architecture: what is on this machine, the best first, then the rest."""
    rows = zoo.for_architecture(architecture)
    here = [row for row in rows if zoo.is_local(row)]
    return best_first(here) + [row for row in rows if row not in here]


def recipe(name: str) -> Checkpoint:
    """The catalogue's row for a checkpoint, or one made up for an architecture with random weights.

    Raises EngineError for an unknown name.
    """
    try:
        if "." in name:
            return zoo.checkpoint(name)
        size = (cost(name).height, cost(name).width)
    except KeyError as error:
        raise EngineError(error.args[0]) from error
    published = zoo.for_architecture(name)
    like = published[0] if published else next(iter(zoo.checkpoints().values()))
    return replace(like, name=name, size=size, test_size=size, labels=None, license="", source=RANDOM, top1=None)


def is_local(name: str) -> bool:
    """Whether a checkpoint or architecture is available without a network."""
    return recipe(name).source == RANDOM or zoo.is_local(name)


def has_classes(name: str) -> bool:
    """Whether the outputs of a checkpoint are classes; those of random weights count as classes."""
    row = recipe(name)
    return row.labels is not None or (row.source == RANDOM and row.num_classes > 0)


def class_names(row: Checkpoint) -> tuple[str, ...] | None:
    return labels.names(row.labels) if row.labels else None


def find_class(row: Checkpoint, text: str) -> int | None:
    """The class that a person typed: a number, a name, or a part of exactly one name. None if blank."""
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
        many = f"{text!r} fits {len(near)} classes, such as {found}: type more of the name."
        raise EngineError(many if near else f"No class is called {text!r}: type another name, or a number.")
    return near[0]
