"""Write docs/FAMILIES.md: every family with its idea, its sizes, its published accuracy and its file.

    python -m tools.gallery

The sizes are those of architectures that are built on the meta device.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

import zoo
from zoo.registry import create_meta, source

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docs" / "FAMILIES.md"
HEAD = """# Families

Every architecture that `zoo.names()` lists, by paper; `python -m tools.gallery` writes this page. Parameters are in
millions, with each architecture's own number of classes. Accuracy is the published top-1 on ImageNet's validation
photos in per cent, from the worst to the best checkpoint, each at its own image size; blank where none is published.
"""
COLUMNS = "| family | year | idea | architectures | parameters | top-1 |\n|---|--:|---|--:|--:|--:|\n"


def page() -> Iterator[str]:
    """The whole page, part by part."""
    yield HEAD
    for section, families in groupby(zoo.all_families(), lambda family: family.section):
        yield f"\n## {section}\n\n{COLUMNS}"
        for family in families:
            yield row(family) + "\n"


def row(family: zoo.Family) -> str:
    """A family's line of the table of its section."""
    files = sorted({source(name).relative_to(ROOT) for name in family.architectures})
    name = f"{family.name} ({', '.join(f'[{file.name}](../{file})' for file in files)})"
    counts = [sum(p.numel() for p in create_meta(name).parameters()) / 1e6 for name in family.architectures]
    published = [c.top1 for c in zoo.checkpoints().values() if c.labels == "in1k" and c.top1 and c.family == family]
    cells = name, year(family), family.sentence, str(len(counts)), span(counts, size), span(published, "{:.1f}".format)
    return f"| {' | '.join(cells)} |"


def year(family: zoo.Family) -> str:
    """The year, with a link to the paper if arXiv has it."""
    first = family.paper.partition(",")[0]
    return f"[{family.year}](https://arxiv.org/abs/{first})" if first[:4].isdecimal() else str(family.year)


def size(millions: float) -> str:
    return f"{millions:,.0f}" if millions >= 100 else f"{millions:.3g}"


def span(values: Iterable[float], told: Callable[[float], str]) -> str:
    """The least and the greatest of the values."""
    ends = sorted(values)
    return " to ".join(dict.fromkeys(map(told, (ends[0], ends[-1])))) if ends else ""


if __name__ == "__main__":
    FILE.write_text("".join(page()), encoding="utf-8")
