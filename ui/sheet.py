"""HTML of a comparison: photos down, models or explanations across, and what can be said about them together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

import engine
import explain
from engine import Look, Request, compare
from engine.table import Line
from engine.tiles import Tile
from ui import cards, facts, plots
from ui.parts import SAVE_CSV
from ui.table import scaled

Columns = Sequence[Sequence[Look | str]]  # one for each request, with a look, or why there is none, for each photo

LISTED = 3  # classes of a cell


@dataclass(frozen=True)
class Head:
    """A column: what was asked, and what is known about the model."""

    request: Request
    by_method: bool  # whether the columns differ in their explanation
    ms: float | None = None  # latency here

    @property
    def title(self) -> str:
        method = explain.METHODS.get(self.request.method)
        return method.title if self.by_method and method else self.request.model

    @property
    def below(self) -> str:
        row = engine.recipe(self.request.model)
        told = [self.request.model if self.by_method else facts.accuracy(row) or "accuracy unknown"]
        return " · ".join([*told, f"{scaled(self.ms)} ms" if self.ms else "latency unknown"])


def bar(done: bool, shared: Sequence[np.ndarray] | None = None) -> str:
    """The heading; once it is done, the file, and the colour scale of all maps if they share one."""
    top = max((float(values.max()) for values in shared or []), default=0.0)
    told = f'<small>0</small><i class="ramp"></i><small>{top:.3g}, one colour scale for all</small>'
    scale = told if top > 0 else ""
    return f'<div class="bar-top"><h2>Side by side</h2>{scale}{SAVE_CSV if done else ""}</div>'


def opening(heads: Sequence[Head]) -> str:
    """The table's head. Rows and cells follow one by one; a browser closes what is still open."""
    across = "".join(f'<th scope="col">{escape(head.title)}<small>{escape(head.below)}</small></th>' for head in heads)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Side by side"><table class="sheet-table">'
        f'<thead><tr><th scope="col">Photo</th>{across}</tr></thead><tbody>'
    )


def row(photo: str) -> str:
    return f'<tr><th scope="row">{escape(photo)}</th>'


def cell(look: Look | str, tile: Tile | None, marks: Sequence[str] = ()) -> str:
    """What a model says about a photo, and its map."""
    if isinstance(look, str) or tile is None:
        return f"<td>{cards.notice(look if isinstance(look, str) else '')}</td>"
    first, *rest = [f"{escape(g.label)} {cards.percent(g.probability)}" for g in look.guesses[:LISTED]] or [
        "no classes"
    ]
    told = [f"<b>{first}</b>", *(f"<small>{other}</small>" for other in rest)]
    told += [f"<em>{escape(mark)}</em>" for mark in marks]
    told += [f"<small>{escape(note)}</small>" for note in look.notes if look.map is None]
    told += [f"<small>largest {tile.largest:.3g}</small>" if tile.largest is not None else ""]
    return f'<td><div class="cell">{figure(tile, cards.headline(look))}<p>{"".join(told)}</p></div></td>'


def figure(tile: Tile, alt: str) -> str:
    """A small photo with its map over it."""
    wide = tile.photo.width / tile.photo.height
    layer = f'<img class="heat" alt="" src="{cards.source(tile.layer)}">' if tile.layer else ""
    return (
        f'<span class="stack small" style="aspect-ratio:{wide:.4f}"><img class="photo" alt="{escape(alt)}" '
        f'src="{cards.source(tile.photo)}">{layer}</span>'
    )


def marks(photo: Sequence[Look | str], truths: Sequence[int | None], several: bool) -> list[list[str]]:
    """What each column's cell of a photo is marked with; `several` models are compared with each other."""
    others, best = (compare.outsiders(photo), compare.winner(photo, truths)) if several else (set[int](), None)
    found: list[list[str]] = [[] for _ in photo]
    for number, (look, truth) in enumerate(zip(photo, truths, strict=True)):
        if isinstance(look, Look) and look.guesses and truth is not None:
            found[number].append("right" if look.guesses[0].index == truth else "wrong")
        if number in others:
            found[number].append("differs")
        if number == best:
            found[number].append("most for the true class")
    return found


def agreement(heads: Sequence[Head], photos: Sequence[str], columns: Columns) -> str:
    """Who names the same first class as whom, and whose maps are alike."""
    maps = _matrix(heads, lambda i, j: _alike(columns[i], columns[j]))
    parts = []
    if not heads[0].by_method:
        named = _matrix(heads, lambda i, j: _agreed(heads, photos, columns, i, j))
        parts.append(f'<h2>Agreement</h2><p class="how">Photos with the same first class.</p>{named}')
    if any(isinstance(look, Look) and look.map for column in columns for look in column):
        how = "Correlation of the maps over 14 x 14 places, the mean over the photos: 1 is alike, 0 is unrelated."
        parts.append(f'<h2>Maps alike</h2><p class="how">{how}</p>{maps}')
    return "".join(parts)


def _matrix(heads: Sequence[Head], value: Callable[[int, int], str]) -> str:
    across = "".join(f'<th scope="col">{escape(head.title)}</th>' for head in heads[1:])
    rows = ""
    for i, head in enumerate(heads[:-1]):
        told = "".join(f"<td>{value(i, j) if j > i else ''}</td>" for j in range(1, len(heads)))
        rows += f'<tr><th scope="row">{escape(head.title)}</th>{told}</tr>'
    table = f"<table><thead><tr><td></td>{across}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _agreed(heads: Sequence[Head], photos: Sequence[str], columns: Columns, i: int, j: int) -> str:
    if not compare.same_classes(heads[i].request.model, heads[j].request.model):
        return "other classes"
    pairs = compare.agreement(columns[i], columns[j])
    known = [pair for pair in pairs if pair is not None]
    apart = [escape(photo) for photo, pair in zip(photos, pairs, strict=True) if pair is False]
    told = f"<small>not on {', '.join(apart)}</small>" if apart else ""
    return f"{sum(known)} of {len(known)}{told}" if known else "nothing to compare"


def _alike(one: Sequence[Look | str], other: Sequence[Look | str]) -> str:
    value = compare.mean_alike(one, other)
    return "none" if value is None else f"{value:.2f}"


def winners(
    heads: Sequence[Head], photos: Sequence[str], columns: Columns, truths: Sequence[Sequence[int | None]]
) -> str:
    """For each photo whose class is known, who gives that class the highest probability."""
    told = []
    for number, photo in enumerate(photos):
        looks, known = [column[number] for column in columns], [column[number] for column in truths]
        best = compare.winner(looks, known)
        if best is None:
            continue
        look, truth = looks[best], known[best]
        assert isinstance(look, Look) and look.probabilities is not None and truth is not None
        share = cards.percent(float(look.probabilities[truth]))
        told.append(f"<li>{escape(photo)}: {escape(heads[best].title)}, {share}</li>")
    how = "Who gives the true class the highest probability. A photo's class is told in Explore, or by its file's name."
    return f'<h2>Winner</h2><p class="how">{how}</p><ul>{"".join(told)}</ul>' if told else ""


def plot(heads: Sequence[Head], among: Sequence[Line]) -> str:
    """Published accuracy against the latency on this machine: the compared models, and all others that were timed."""
    points = {}
    for head in heads:
        row = engine.recipe(head.request.model)
        if head.ms and row.top1 is not None and row.labels == "in1k":
            points[head.request.model] = head.ms, row.top1
    if not points:
        return ""
    drawn = plots.axes(log=True)
    others = [line for line in among if line.ms and line.top1 is not None and line.labels == "in1k"]
    plots.dots(drawn, [(line.ms or 0.0, line.top1 or 0.0) for line in others if line.name not in points])
    plots.line(drawn, points.values(), join=False)
    plots.named(drawn, list(points), points.values())
    told = "".join(f"<li>{escape(name)}: {top1:.1f} %, {scaled(ms)} ms</li>" for name, (ms, top1) in points.items())
    how = "Published top-1 on ImageNet in per cent; ms for one image, accelerated, on this machine. Grey: others timed."
    image = f'<div role="img" aria-label="The points are listed below.">{plots.svg(drawn)}</div>'
    return f'<h2>Accuracy against latency</h2><p class="how">{how}</p>{image}<ul>{told}</ul>'
