"""The files of tests/goldens: the reference's results for each variant of a family, and how they were recorded.

A file begins with lines written by hand, which tools/golden.py keeps when it records the file again:

    # size: 64x96                 the size of the input image; by default, the variant's own
    # size: 4x6 patches           the same, in patches of the variant
    # img_size: 64                variants are built for a square image of this side, which is the input; or: 4 patches
    # test_size: 64x96            the same for tests without the reference, if we take smaller images than it does
    # cut: {"depth": 2}           what makes a large variant small: the reference's arguments and our config's fields
    # cut: {"embed_dim": "16 a head"} -> {"dim": "16 a head"}       the same, if their names differ
    # cut: {"blocks": 2} -> {"stages": "2 blocks"}     of a table, the first blocks of each stage (zoo/layers/table.py)
    # cut: {"channel_multiplier": 0.5} -> {"stages": "0.5 wide"}        all blocks of a table, with half the channels
    # light: {"depth": 2}         fields of our config for tests without the reference, if `cut` is not enough
    # gain: 1.5                   what filled batch norms multiply by, if too little of the image would be left
    # unlike: resnet50_gn         variants that differ from the lightest in structure, for tests of every family
    # bench: resnet50             the architectures of this family that tools/bench.py times

A pattern after the word, as in `# cut *_pruned: {}`, restricts a line to the variants that match it; if several lines
apply to a variant, the last one counts. The header is followed by a table with one row per variant.
"""

import csv
import json
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from zoo.layers.table import Row, Table, scaled
from zoo.registry import variant

GOLDENS = Path(__file__).parent.parent / "tests" / "goldens"
LINE = re.compile(r"# (size|test_size|img_size|cut|light|gain|unlike|bench)(?: (\S+))?: (.+)")
# Suffixes of a number: times the variant's patch size, times its heads; so many blocks a stage of a table, a table
# so many times as wide.
PATCHES, A_HEAD, BLOCKS, WIDE = " patches", " a head", " blocks", " wide"


@dataclass(frozen=True)
class Golden:
    """One family's file."""

    header: list[str]  # lines
    rows: list[dict[str, str]]  # one per variant, by column

    def says(self, word: str, name: str) -> str | None:
        """The header's value of a word for a variant."""
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
        """The variants that tests of every family use besides the lightest."""
        return (self.says("unlike", "") or "").split()

    @property
    def gain(self) -> float:
        """What filled batch norms multiply by."""
        return float(self.says("gain", "") or 1)

    def size(self, name: str, word: str = "size") -> tuple[int, int] | None:
        """Height and width of the input image in pixels; None for the variant's own."""
        side = self.says("img_size", name)
        text = self.says(word, name) or self.says("size", name) or (side and f"{side.removesuffix(PATCHES)}x{side}")
        if text is None:
            return None
        unit = variant(name)[1].patch if text.endswith(PATCHES) else 1
        height, width = (unit * int(part) for part in text.removesuffix(PATCHES).split("x"))
        return height, width

    def fitted(self, name: str) -> dict[str, Any]:
        """The override, for the reference and for us, that builds a variant for its input image."""
        size = self.size(name)
        return {"img_size": size[0]} if size and self.says("img_size", name) else {}

    def cut(self, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What makes a variant small: the reference's arguments and our config's fields. None without a `cut` line."""
        text = self.says("cut", name)
        if text is None:
            return None
        theirs, _, ours = text.partition(" -> ")
        return self._resolved(theirs, name), self._resolved(ours or theirs, name)

    @staticmethod
    def _resolved(text: str, name: str) -> dict[str, Any]:
        """Parse overrides. Heads are not cut: no shape shows their number, so only the outputs can test it."""
        overrides = json.loads(text)
        for field, value in overrides.items():
            if isinstance(value, str) and value.endswith(A_HEAD):
                heads = variant(name)[1].num_heads
                first = heads if isinstance(heads, int) else heads[0]  # if stages have their own, widths double
                overrides[field] = int(value.removesuffix(A_HEAD)) * first
        return overrides

    def light(self, name: str) -> dict[str, Any]:
        """The fields of our config that make a variant small enough for tests and fit it to its image."""
        _, ours = self.cut(name) or ({}, {})
        return arguments(self.fitted(name) | ours | self._resolved(self.says("light", name) or "{}", name), name)


def arguments(overrides: dict[str, Any], name: str) -> dict[str, Any]:
    """What `zoo.create` takes: a table of blocks is no JSON, so a file says how deep or how wide it is left."""

    def kept(stage: tuple[Row, ...], blocks: int) -> tuple[Row, ...]:
        rows = []
        for row in stage:
            depth = min(row.depth, blocks)
            rows += [replace(row, depth=depth)] if depth else []
            blocks -= depth
        return tuple(rows)

    def table(whole: Table, text: str) -> Table:
        if text.endswith(WIDE):
            return scaled(whole, float(text.removesuffix(WIDE)))
        return tuple(kept(stage, int(text.removesuffix(BLOCKS))) for stage in whole)

    return {
        field: table(getattr(variant(name)[1], field), value)
        if isinstance(value, str) and value.endswith((BLOCKS, WIDE))
        else value
        for field, value in overrides.items()
    }


def read(family: str) -> Golden:
    """Read a family's file; before it is recorded, it may lack its table or not exist."""
    path = GOLDENS / f"{family}.tsv"
    lines = path.read_text().splitlines() if path.exists() else []
    header = [line for line in lines if line.startswith("#")]
    if strange := next((line for line in header if not LINE.fullmatch(line)), None):
        raise ValueError(f"{path.name} has the line {strange!r}: write it as tools/golden_file.py explains.")
    return Golden(header, list(csv.DictReader(lines[len(header) :], delimiter="\t")))


def families() -> list[str]:
    """Every family that has a file."""
    return sorted(path.stem for path in GOLDENS.glob("*.tsv"))
