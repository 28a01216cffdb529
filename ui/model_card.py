"""A model's card: what it is, what it costs, its checkpoints, its stages, others near it, and its source to read."""

from __future__ import annotations

import ast
from html import escape

import engine
import zoo
from engine.table import Line, lines, nearest, seen_here, terms
from ui import facts, work
from ui.table import scaled
from zoo.catalogue import ZOO, Checkpoint, throughput

SETS = {"imagenet": "ImageNet", "real": "ReaL", "v2": "V2", "a": "A", "r": "R", "sketch": "Sketch"}
ADVICE = "What a licence allows is a guide to its text, and no legal advice."
HOW_TIMED = "{} ms: one image in float32, accelerated"
MANY = 12  # stages that the diagram shows; of more blocks, evenly chosen ones
WIDEST, HIGHEST = 160, 48  # pixels of the diagram's boxes


def card(line: Line) -> str:
    """The whole card but for the source."""
    price = line.cost()
    facts_list = "".join(f"<dt>{head}</dt><dd>{told}</dd>" for head, told in known(line, price).items())
    return (
        f"<h2>{escape(line.name)}</h2>"
        '<button type="button" class="go" data-do="explore">Explore this model</button>'
        f"<p>{' '.join(map(escape, sentences(line, price)))}</p>"
        f'<dl class="known">{facts_list}</dl>'
        f"<h3>Stages</h3>{stages(price)}"
        f"<h3>Checkpoints of {escape(line.architecture)}</h3>{checkpoints(line.architecture)}"
        f"<h3>Alternatives</h3>{alternatives(line)}"
    )


def sentences(line: Line, price: zoo.Cost) -> list[str]:
    """What it is: the idea, how it is built, and what can be seen of it."""
    family = line.family
    offers = engine.explanations(line.name)
    possible = sum(offer.ok for offer in offers)
    layers = len(price.attention_layers)
    several = f"{layers} layers" if layers > 1 else "one layer"
    seen = f"its {several} of attention can be shown" if layers else _without_attention(line.architecture)
    return [
        family.sentence,
        f"{line.architecture}, whose paradigm is {line.paradigm}, has {scaled(price.parameters / 1e6)} million "
        f"parameters, and an image of {line.size[0]} x {line.size[1]} takes it {scaled(price.macs / 1e9)} billion "
        "multiply-adds.",
        f"{possible} of {len(offers)} explanations are possible: {seen}.",
    ]


def _without_attention(architecture: str) -> str:
    reason = zoo.registry.create_meta(architecture).no_attention or ""
    return f"{reason[:1].lower()}{reason[1:]}".rstrip(".")


def known(line: Line, price: zoo.Cost) -> dict[str, str]:
    """Figures and facts, heading by heading."""
    family, row = line.family, line.row
    papers = ", ".join(facts.paper_link(paper) for paper in family.paper.split(", "))
    told = {
        "Family": f"{escape(family.name)}, {family.year}",
        "Paper": papers,
        "Top-1": _percents(line.accuracies) or (facts.accuracy(row) if row else "") or "not published",
        "Parameters": f"{price.parameters / 1e6:,.2f} M",
        "Multiply-adds": f"{price.macs / 1e9:,.2f} G at {line.size[0]} x {line.size[1]}",
        "Activations": f"{price.activations / 1e6:,.2f} M",
        "Latency here": HOW_TIMED.format(scaled(line.ms)) if line.ms else "not timed yet: Measure times it",
        "Looked at": f"{line.looks} time{'s' * (line.looks != 1)} on this machine",
        "Training": escape(family.training),
        "Suited to": escape(family.use_case),
        "Weights": facts.weights(row, price.weight_bytes) if row else "random only: none are published",
    }
    if speed := throughput(line.name):
        rate = f"{speed.images_per_second:,} images a second on {escape(speed.device)}"
        told["Published speed"] = f"{rate} ({facts.paper_link(speed.paper)})"
    if row:
        told["Licence"] = f"{facts.licence(row) or 'unstated'}: {terms(row.license)}. <small>{ADVICE}</small>"
    return told


def _percents(accuracy: dict[str, float]) -> str:
    return ", ".join(f"{SETS[name]} {value:.1f} %" for name, value in accuracy.items())


def stages(price: zoo.Cost) -> str:
    """The map after each stage or block: a box as high as its grid and as wide as its channels, by their roots."""
    chosen = price.stages[:: -(-len(price.stages) // MANY)]
    if not chosen:
        return ""
    high = max(height for _, (_, height, _) in chosen)
    channels_most = max(channels for _, (channels, _, _) in chosen)
    boxes = "".join(_box(name, shape, (channels_most, high)) for name, shape in chosen)
    return f'<ol class="stages" aria-label="Channels, rows and columns after each stage">{boxes}</ol>'


def _box(name: str, shape: tuple[int, int, int], most: tuple[int, int]) -> str:
    channels, height, width = shape
    wide, high = WIDEST * (channels / most[0]) ** 0.5, HIGHEST * (height / most[1]) ** 0.5
    drawn = f'<i style="width:{wide:.0f}px;height:{high:.0f}px"></i>'
    return f"<li>{drawn}<span>{name}: {channels} x {height} x {width}</span></li>"


def checkpoints(architecture: str) -> str:
    """Every checkpoint, with its accuracy, its size and its licence."""
    rows = "".join(_checkpoint(row) for row in engine.offered(architecture))
    if not rows:
        return '<p class="how">None is published: its weights are random.</p>'
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Weights", "Top-1", "Image", "Licence"))
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _checkpoint(row: Checkpoint) -> str:
    here = ' <span class="good">offline</span>' if engine.is_local(row.name) else ""
    return (
        f'<tr><th scope="row">{escape(row.tag)}{here}</th><td>{escape(facts.accuracy(row))}</td>'
        f"<td>{row.size[0]}</td><td>{facts.licence(row)}: {terms(row.license)}</td></tr>"
    )


def alternatives(line: Line) -> str:
    """Others near it in accuracy, size or kind, and why."""
    items = "".join(
        f'<li><button type="button" class="link" data-do="open" data-value="{escape(other.name)}">'
        f"{escape(other.name)}</button>: {reason} ({_short(other)})</li>"
        for other, reason in nearest(line, lines())
    )
    return f"<ul>{items}</ul>"


def _short(line: Line) -> str:
    accuracy = "" if line.top1 is None else f"{line.top1:.1f} %, "
    return f"{accuracy}{scaled(line.figures.parameters / 1e6)} M, {scaled(line.figures.macs / 1e9)} G"


def program(architecture: str) -> tuple[str, str]:
    """The family's file, and in words which of its lines this variant uses."""
    file = zoo.registry.source(architecture)
    text, module = file.read_text(encoding="utf-8"), f"zoo.families.{file.stem}"
    parts = zoo.registry.create_meta(architecture).modules()
    used = {type(part).__name__ for part in parts if type(part).__module__ == module}
    found = [f"{name}: {first} to {last}" for name, first, last in _classes(text) if name in used]
    line = next((i for i, one in enumerate(text.splitlines(), 1) if f'"{architecture}"' in one), None)
    where = f"{architecture} is listed in line {line}" if line else f"{architecture} is one of its variants"
    if not found:
        shared = zoo.registry.variant(architecture)[0].__module__.rpartition(".")[2]
        return text, f"{where}; its layers are those of {shared}.py."
    return text, f"{where}; it uses the lines of {', '.join(found)}."


def _classes(text: str) -> list[tuple[str, int, int]]:
    """The classes of a file, with their first and last lines."""
    found = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    return [(node.name, node.lineno, node.end_lineno or node.lineno) for node in found]


def opened(name: str) -> Line:
    """The line of a model. Raises EngineError for an unknown one."""
    engine.recipe(name)
    same = [line for line in lines() if name in (line.name, line.architecture)]
    return next((line for line in same if line.name == name), same[0])


def shown(name: str) -> tuple[str, str, str]:
    """A model's card, its family's file, and which of its lines it uses."""
    (line,) = seen_here([opened(name)], work.the_engine().seen())
    text, used = program(line.architecture)
    file = zoo.registry.source(line.architecture).relative_to(ZOO.parent)
    return card(line), text, f"<h3>Source: {file}</h3><p class='how'>{escape(used)}</p>"
