"""Write zoo/labels/wordnet.tsv: the classes of ImageNet's label sets, with unique names.

    python -m tools.labels

The ids, orders, lemmas and definitions come from tables in timm; lemmas and definitions are WordNet 3.0's. The name of
a class is its first lemma. If several synsets share it, each gets a note: the first of its lemmas that none of the
others has, or else the start of its definition.
"""

import csv
import re
from collections import defaultdict
from pathlib import Path

from tools.oracle import timm
from zoo.labels import FOLDER, LETTERS

INFO = Path(timm.__file__).parent / "data" / "_info"
FILES = {
    "in1k": "imagenet_synsets.txt",
    "in12k": "imagenet12k_synsets.txt",
    "in21k-goog": "imagenet21k_goog_synsets.txt",
    "in21k-miil": "imagenet21k_miil_synsets.txt",
    "in22k": "imagenet22k_synsets.txt",
}
NOTES = {"n03126707": "lifting machine", "n02012849": "bird"}  # the two cranes
# Where a definition may be cut: before an addition, and in a long one also before a preposition.
BREAK = re.compile(r"[,;:]| (?:that|which|who|whose|where|when|with|having|used|especially|usually|native|found) ")
LATE_BREAK = re.compile(r" (?:of|in|for|from|on|by|at|to|between|before|after|without|until) ")
ASIDE = re.compile(r"\s*\([^)]*\)\s*")
ARTICLE = re.compile(r"^(?:an?|the|any of (?:various|several|numerous)|any) ")
LOOSE_END = re.compile(r"(?: (?:in|on|at|of|to|by|as|an?|the|or|and|made|attached|consisting|resembling))+$")
LONG = 45  # characters
MIN_WORDS = 2


def read(name: str) -> dict[str, str]:
    with (INFO / name).open(encoding="utf-8", newline="") as lines:
        return dict(csv.reader(lines, delimiter="\t"))


def starts(definition: str) -> list[str]:
    """Beginnings of a definition that make sense alone, the shortest first, and last the whole definition."""
    text = ARTICLE.sub("", ASIDE.sub(" ", definition).strip())
    cuts = [c for c in (*(text[: m.start()] for m in BREAK.finditer(text)), text) if len(c.split()) >= MIN_WORDS]
    if not cuts or len(cuts[0]) > LONG:
        cuts = [text[: m.start()] for m in LATE_BREAK.finditer(text) if m.start() > LONG / 2] + cuts
    return [*(LOOSE_END.sub("", c) for c in cuts), definition]


def notes(group: list[str], lemmas: dict[str, list[str]], definitions: dict[str, str]) -> dict[str, str]:
    """A note for each synset of one name, all different."""
    found: dict[str, str] = {}
    for synset in group:
        others = {lemma for s in group if s != synset for lemma in lemmas[s]}
        own = [lemma for lemma in lemmas[synset] if lemma not in others]
        choices = [NOTES[synset]] if synset in NOTES else own + starts(definitions[synset])
        found[synset] = next(c for c in choices if c not in found.values())
    return found


def main() -> None:
    lemmas = {s: text.split(", ") for s, text in read("imagenet_synset_to_lemma.txt").items()}
    definitions = read("imagenet_synset_to_definition.txt")
    sets = {name: (INFO / file).read_text().split() for name, file in FILES.items()}
    letters: dict[str, str] = defaultdict(str)
    for name, synsets in sets.items():
        for synset in synsets:
            letters[synset] += LETTERS[name]
    groups = defaultdict(list)
    for synset in sorted(letters):
        groups[lemmas[synset][0]].append(synset)
    note = {s: n for group in groups.values() if len(group) > 1 for s, n in notes(group, lemmas, definitions).items()}
    with (FOLDER / "wordnet.tsv").open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        table.writerow(("synset", "sets", "name", "note"))
        for synset in sorted(letters):
            table.writerow((synset, letters[synset], lemmas[synset][0], note.get(synset, "")))


if __name__ == "__main__":
    main()
