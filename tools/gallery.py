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
    its = [row for row in zoo.checkpoints().values() if row.family == family]
    names = family.architectures or sorted({row.architecture for row in its})  # some papers trained another's alone
    files = sorted({source(name).relative_to(ROOT) for name in names})
    name = f"{family.name} ({', '.join(f'[{file.name}](../{file})' for file in files)})"
    counts = [sum(p.numel() for p in create_meta(name).parameters()) / 1e6 for name in names]
    published = [row.top1 for row in its if row.labels == "in1k" and row.top1]
    idea = f"{family.sentence} {papers(family)}"
    cells = name, str(family.year), idea, str(len(counts)), span(counts, size), span(published, "{:.1f}".format)
    return f"| {' | '.join(cells)} |"


def papers(family: zoo.Family) -> str:
    """Links to the papers, or what stands in their place."""
    told = [f"[{p}](https://arxiv.org/abs/{p})" if p[:4].isdecimal() else p for p in family.paper.split(", ")]
    return ", ".join(told)


def size(millions: float) -> str:
    return f"{millions:,.0f}" if millions >= 100 else f"{millions:.3g}"


def span(values: Iterable[float], told: Callable[[float], str]) -> str:
    """The least and the greatest of the values."""
    ends = sorted(values)
    return " to ".join(dict.fromkeys(map(told, (ends[0], ends[-1])))) if ends else ""


if __name__ == "__main__":
    FILE.write_text("".join(page()), encoding="utf-8")
