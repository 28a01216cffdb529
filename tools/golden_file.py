"""The files of tests/goldens: what the reference says of each variant of a family, and how it was asked.

A file begins with lines that people write, and that recording it anew (tools/golden.py) keeps:

    # size: 64x96                 the image that variants are shown; without it, one of their own size
    # size: 4x6 patches           the same, in patches of the variant
    # img_size: 64                variants are built for a square image of that side, and shown one; or: 4 patches
    # cut: {"depth": 2}           what makes a large variant small: the reference's arguments and our config's fields
    # cut: {"embed_dim": "16 a head"} -> {"dim": "16 a head"}       the same, where they are called otherwise
    # cut: {"blocks": 2} -> {"stages": "2 blocks"}     of a table, the first blocks of each stage (zoo/layers/table.py)
    # light: {"depth": 2}         fields of our config for tests that ask no reference, where `cut` is not enough
    # unlike: resnet50_gn         variants built, read out or looked into unlike the lightest: for tests of every family
    # gain: 1.5                   what filled batch norms multiply by, where too little of the image would be left
    # bench: resnet50             what tools/bench.py times of this family

A pattern after the word, as in `# cut *_pruned: {}`, keeps a line to the variants that match it; of several lines
for a variant, the last holds. Then comes a table with one row a variant.
"""

import csv
import json
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from zoo.layers.table import Row
from zoo.registry import variant

GOLDENS = Path(__file__).parent.parent / "tests" / "goldens"
LINE = re.compile(r"# (size|img_size|cut|light|unlike|gain|bench)(?: (\S+))?: (.+)")
PATCHES, A_HEAD = " patches", " a head"  # after a number: times the variant's own patch, or its heads
BLOCKS = " blocks"  # after a number: so many of each stage


@dataclass(frozen=True)
class Golden:
    """One family's file."""

    header: list[str]  # lines
    rows: list[dict[str, str]]  # by column, one a variant

    def says(self, word: str, name: str) -> str | None:
        """What the header says for a variant."""
        found = None
        for line in self.header:
            if (match := LINE.fullmatch(line)) and match[1] == word and fnmatch(name, match[2] or "*"):
                found = match[3]
        return found

    @property
    def bench(self) -> list[str]:
        """The architectures to time."""
        return (self.says("bench", "") or "").split()

    @property
    def unlike(self) -> list[str]:
        """The variants that tests of every family ask beside the lightest."""
        return (self.says("unlike", "") or "").split()

    @property
    def gain(self) -> float:
        """What filled batch norms multiply by."""
        return float(self.says("gain", "") or 1)

    def size(self, name: str) -> tuple[int, int] | None:
        """Height and width, in pixels, of the image that a variant is shown; None: the variant's own."""
        side = self.says("img_size", name)
        text = self.says("size", name) or (side and f"{side.removesuffix(PATCHES)}x{side}")
        if text is None:
            return None
        unit = variant(name)[1].patch if text.endswith(PATCHES) else 1
        height, width = (unit * int(part) for part in text.removesuffix(PATCHES).split("x"))
        return height, width

    def fitted(self, name: str) -> dict[str, Any]:
        """The override that builds a variant, on either side, for the image that it is shown."""
        size = self.size(name)
        return {"img_size": size[0]} if size and self.says("img_size", name) else {}

    def cut(self, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What makes a variant small: the reference's arguments, and the fields of our config. None: nothing does."""
        text = self.says("cut", name)
        if text is None:
            return None
        theirs, _, ours = text.partition(" -> ")
        return self._resolved(theirs, name), self._resolved(ours or theirs, name)

    @staticmethod
    def _resolved(text: str, name: str) -> dict[str, Any]:
        """Read overrides. Heads stay as they are: no shape tells how many there are, so only the outputs can."""
        overrides = json.loads(text)
        for field, value in overrides.items():
            if isinstance(value, str) and value.endswith(A_HEAD):
                heads = variant(name)[1].num_heads
                first = heads if isinstance(heads, int) else heads[0]  # where stages have their own, widths double
                overrides[field] = int(value.removesuffix(A_HEAD)) * first
        return overrides

    def light(self, name: str) -> dict[str, Any]:
        """The fields of our config that make a variant as small as tests like it, and fit it to its image."""
        _, ours = self.cut(name) or ({}, {})
        return arguments(self.fitted(name) | ours | self._resolved(self.says("light", name) or "{}", name), name)


def arguments(overrides: dict[str, Any], name: str) -> dict[str, Any]:
    """What `zoo.create` takes: a table of blocks is no JSON, so a file says how many blocks of each stage are kept."""

    def kept(stage: tuple[Row, ...], blocks: int) -> tuple[Row, ...]:
        rows = []
        for row in stage:
            depth = min(row.depth, blocks)
            rows += [replace(row, depth=depth)] if depth else []
            blocks -= depth
        return tuple(rows)

    return {
        field: tuple(kept(stage, int(value.removesuffix(BLOCKS))) for stage in getattr(variant(name)[1], field))
        if isinstance(value, str) and value.endswith(BLOCKS)
        else value
        for field, value in overrides.items()
    }


def read(family: str) -> Golden:
    """A family's file; one without a table, or no file at all, is one that has not been recorded yet."""
    path = GOLDENS / f"{family}.tsv"
    lines = path.read_text().splitlines() if path.exists() else []
    header = [line for line in lines if line.startswith("#")]
    if strange := next((line for line in header if not LINE.fullmatch(line)), None):
        raise ValueError(f"{path.name} says {strange!r}, which tools/golden_file.py does not know.")
    return Golden(header, list(csv.DictReader(lines[len(header) :], delimiter="\t")))


def families() -> list[str]:
    """Every family that has a file."""
    return sorted(path.stem for path in GOLDENS.glob("*.tsv"))
