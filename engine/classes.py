"""Classes by the names that a person types, or gives to a file."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from engine.jobs import EngineError
from zoo import labels
from zoo.catalogue import Checkpoint

CIFAR = "cifar10"  # the label set whose classes are no synsets
ECHOED = 80  # characters of what was typed that a sentence repeats
LONGEST = 255  # characters of a file's name
CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")  # where a word begins in "SeaLion"
SYNSET = re.compile(r"(?<![a-z0-9])n\d{8}(?!\d)")


def class_names(row: Checkpoint) -> tuple[str, ...] | None:
    return labels.names(row.labels) if row.labels else None


def synsets(row: Checkpoint) -> tuple[str, ...]:
    """The WordNet id of each class; empty where the classes have none."""
    return labels.synsets(row.labels) if row.labels and row.labels != CIFAR else ()


def find_class(row: Checkpoint, text: str) -> int | None:
    """The class that a person typed: a number, a name, or a part of exactly one name. None if blank."""
    text, shown = text.strip(), repr(text.strip()[:ECHOED])
    if not text:
        return None
    if text.isdecimal():
        if len(text) > ECHOED or int(text) >= row.num_classes:
            raise EngineError(f"This model has classes 0 to {row.num_classes - 1}; there is no class {text[:ECHOED]}.")
        return int(text)
    names = class_names(row)
    if names is None:
        raise EngineError("The outputs of this model have no names: give the class as a number.")
    if text in names:  # "Cardigan" is a dog, "cardigan" a garment
        return names.index(text)
    exact = [i for i, name in enumerate(names) if name.lower() == text.lower()]
    near = exact or [i for i, name in enumerate(names) if text.lower() in name.lower()]
    if len(near) != 1:
        found = ", ".join(names[i] for i in near[:5])
        many = f"{shown} fits {len(near)} classes, such as {found}: type more of the name."
        raise EngineError(many if near else f"No class is called {shown}: type another name, or a number.")
    return near[0]


def truth_from_name(file: str, names: Sequence[str], synsets: Sequence[str] = ()) -> int | None:
    """The class that the name of a photo's file says; None if it says none, or more than one.

    That is a WordNet id ("n02130308_12.jpg") of `synsets`, else a name of `names` between the borders of words, in any
    case: "golden_retriever-3.jpg", "SeaLion2.jpg". A name inside a longer one does not count: "sea lion" is no lion.
    """
    stem = unicodedata.normalize("NFC", re.split(r"[/\\]", file)[-1][-LONGEST:])
    stem = stem.rpartition(".")[0] or stem
    ids = {found for found in SYNSET.findall(stem.lower()) if found in synsets}
    found = {synsets.index(synset) for synset in ids}
    for text in (stem, CAPITAL.sub(" ", stem)):
        found = found or _named(_words(text), _by_words(tuple(names)))
    return found.pop() if len(found) == 1 else None


def _named(words: tuple[str, ...], by_words: dict[tuple[str, ...], set[int]]) -> set[int]:
    """The classes whose names occur among the words, but not inside a longer name that does."""
    ends = range(1, len(words) + 1)
    spans = [(start, end) for end in ends for start in range(end) if words[start:end] in by_words]
    whole = [span for span in spans if not any(_inside(span, other) for other in spans)]
    return {index for start, end in whole for index in by_words[words[start:end]]}


def _inside(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return span != other and other[0] <= span[0] and span[1] <= other[1]


def _words(text: str) -> tuple[str, ...]:
    """Runs of letters and runs of digits, in lower case."""
    return tuple(re.findall(r"[^\W\d_]+|\d+", text.lower()))


@lru_cache(8)
def _by_words(names: tuple[str, ...]) -> dict[tuple[str, ...], set[int]]:
    """The classes of each name as words. One with a note, "crane (bird)", is found with the note and without."""
    found: dict[tuple[str, ...], set[int]] = {}
    for i, name in enumerate(names):
        for text in {name, name.partition(" (")[0]}:
            found.setdefault(_words(text), set()).add(i)
    return found
