"""Names of classes, spelled for people. `names("in1k")[207]` is "golden retriever".

Each line of `wordnet.tsv` is a synset (a WordNet concept): its id, its name, a letter for each label set that it is in,
and a note that tells it from others of the same name. Label sets are in the order of the ids, except "in22k-ms", which
puts the 1,000 classes of "in1k" first.
"""

import csv
from collections import Counter
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
COUNTS = {
    "in1k": 1000,  # ImageNet challenge 2012
    "in12k": 11821,  # the classes of 22k that have enough photos, as timm selected them
    "in21k-goog": 21843,  # Google's
    "in21k-miil": 11221,  # the classes of 21k that Alibaba MIIL kept, arXiv:2104.10972
    "in22k": 21841,  # ImageNet, fall 2011
    "in22k-ms": 21842,  # Microsoft's order for FocalNet
    "cifar10": 10,
}
LETTERS = {"in1k": "k", "in12k": "t", "in21k-goog": "g", "in21k-miil": "m", "in22k": "f"}


@cache
def names(label_set: str) -> tuple[str, ...]:
    """The name of each class, in the order of the outputs; no two are the same."""
    if label_set not in COUNTS:
        raise KeyError(f"There is no label set {label_set!r}: choose one of {', '.join(COUNTS)}.")
    if label_set == "cifar10":
        return tuple((FOLDER / "cifar10.txt").read_text(encoding="utf-8").split())
    rows = [_table()[s] for s in synsets(label_set)]
    count = Counter(row["name"] for row in rows)
    return tuple(f"{row['name']} ({row['note']})" if count[row["name"]] > 1 else row["name"] for row in rows)


@cache
def synsets(label_set: str) -> tuple[str, ...]:
    """The WordNet id of each class of an ImageNet label set, in the order of the outputs."""
    if label_set == "in22k-ms":
        first = synsets("in1k")
        return first + tuple(s for s in synsets("in22k") if s not in set(first))
    return tuple(s for s, row in _table().items() if LETTERS[label_set] in row["sets"])


@cache
def _table() -> dict[str, dict[str, str]]:
    with (FOLDER / "wordnet.tsv").open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["synset"]: row for row in rows}
