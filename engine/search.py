"""Find models, and say what is known about one before anything is loaded."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import zoo
from engine.jobs import EngineError
from zoo import labels
from zoo.catalogue import Checkpoint, Figures, figures

LONGEST = 80  # characters of a name; more are not echoed
RANDOM = "random weights"  # the source of a model that has no checkpoint
LABEL_SETS = (*labels.COUNTS, None)  # ImageNet's 1,000 classes first, CIFAR-10 after all of ImageNet, features last
TOO_LONG = f"A search takes at most {LONGEST} characters: type a part of the model's name."
NO_EXPRESSIONS = "Regular expressions are not understood here: type words, or a name with * for any characters."


def find_models(query: str, limit: int | None = 50) -> list[str]:
    """Architectures and checkpoints that match a query, the best match first.

    A query is a part of a name, words that all occur in the name, the family, its section or its paradigm, or a name
    with wildcards (`vit_*_384`). An equal name comes first, then names that begin with the query, that have a word that
    does, that hold it, and last those that have its words. Among equals, what is on this machine is first, ImageNet
    before CIFAR-10, the most accurate first, and an architecture before its checkpoints. Raises EngineError for a query
    that is too long or a regular expression.
    """
    query = query.strip().lower()
    if len(query) > LONGEST:
        raise EngineError(TOO_LONG)
    if len(query) > 1 and query.startswith("/") and query.endswith("/"):
        raise EngineError(NO_EXPRESSIONS)
    match = _by_glob(query) if any(c in query for c in "*?[") else _by_words(query)
    ranks = ((match(name), order, name) for order, name in enumerate(_in_order()))
    found = sorted((rank, order, name) for rank, order, name in ranks if rank is not None)
    return [name for _, _, name in found[:limit]]


def _by_glob(query: str) -> Callable[[str], int | None]:
    return lambda name: 0 if fnmatchcase(name, query) else None


def _by_words(query: str) -> Callable[[str], int | None]:
    """How well a name matches a query: 0 is best, None not at all."""
    starts, words = re.compile(rf"(?<![a-z0-9]){re.escape(query)}"), query.replace("-", " ").split()

    def rank(name: str) -> int | None:
        if query in name:
            return 0 if name == query else 1 if name.startswith(query) else 2 if starts.search(name) else 3
        text = _text(name)
        return 4 if all(word in text for word in words) else None

    return rank


def _text(name: str) -> str:
    family = zoo.family_of(name.partition(".")[0])
    return name if family is None else f"{name} {family.name} {family.section} {family.paradigm}".lower()


def _in_order() -> list[str]:
    """Every architecture, before its best checkpoint, and every checkpoint of one, as they come among equals."""
    here = {row.name for row in on_this_machine()}
    order: dict[str, None] = {}
    for row in sorted(best_first(zoo.checkpoints().values()), key=lambda row: row.name not in here):
        order[row.architecture] = order[row.name] = None
    return list(order | dict.fromkeys(zoo.names()))  # last, those with random weights only


def best_first(rows: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Sort checkpoints by what they know, then by accuracy: figures of two data sets do not compare."""
    return sorted(rows, key=lambda row: (LABEL_SETS.index(row.labels), -(row.top1 or 0.0)))


def on_this_machine() -> list[Checkpoint]:
    """Every checkpoint that needs no network, the best first."""
    return best_first(zoo.all_local())


def offered(architecture: str) -> list[Checkpoint]:
    """The checkpoints of an architecture: what is on this machine, the best first, then the rest."""
    rows = zoo.for_architecture(architecture)
    here = [row for row in rows if zoo.is_local(row)]
    return best_first(here) + [row for row in rows if row not in here]


def recipe(name: str) -> Checkpoint:
    """The catalogue's row for a checkpoint, or one made up for an architecture with random weights.

    Raises EngineError for an unknown name.
    """
    if len(name) > LONGEST:  # it would be echoed, and compared with every name
        raise EngineError(f"There is no model {name[:LONGEST]!r}...: no name is that long.")
    try:
        if "." in name:
            return zoo.checkpoint(name)
        _, height, width, classes = zoo.native(name)
    except KeyError as error:
        raise EngineError(error.args[0]) from error
    made_up: dict[str, Any] = dict(labels=None, license="", source=RANDOM, top1=None)
    size = height, width
    return replace(like(name), name=name, size=size, test_size=size, num_classes=classes, **made_up)


def like(architecture: str) -> Checkpoint:
    """The checkpoint as whose photos those for an architecture with random weights are prepared.

    Its own first one, else the catalogue's first one with as many classes, or of ImageNet. Raises KeyError for what is
    no architecture.
    """
    if own := zoo.for_architecture(architecture):
        return own[0]
    *_, classes = zoo.native(architecture)
    first = {row.num_classes: row for row in reversed(zoo.checkpoints().values()) if row.labels}
    return first.get(classes) or first[labels.COUNTS["in1k"]]


def price(name: str) -> Figures:
    """What one image costs a model; counted only where the table of costs lacks it. Raises EngineError."""
    row = recipe(name)
    model = row.architecture, *row.size, row.num_classes
    if model in figures():
        return figures()[model]
    return zoo.cost(row.architecture, row.size, row.num_classes).figures


def is_local(name: str) -> bool:
    """Whether a checkpoint or architecture is available without a network."""
    return recipe(name).source == RANDOM or zoo.is_local(name)


def has_classes(name: str) -> bool:
    """Whether the outputs of a checkpoint are classes; those of random weights count as classes."""
    row = recipe(name)
    return row.labels is not None or (row.source == RANDOM and row.num_classes > 0)
