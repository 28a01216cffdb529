"""The selection guide: five questions that a person who looks for a model may have, as ready-made choices of lines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from engine.table import Line, Wanted, find
from ui.table import scaled

GOOD = 75.0  # per cent of top-1 on ImageNet that a guide to small models asks for
LIGHT_MACS, LIGHT_PARAMETERS = 5e9, 30e6  # what a balanced model costs at most
NEW = 2  # years


@dataclass(frozen=True)
class Guide:
    """A question, and which lines answer it in what order."""

    title: str
    rule: str  # in words
    fits: Callable[[Line, int], bool]  # of a line and the newest year
    order: str


def _imagenet(line: Line, _: int) -> bool:
    return line.labels == "in1k" and line.top1 is not None


def _good(line: Line, year: int) -> bool:
    return _imagenet(line, year) and (line.top1 or 0.0) >= GOOD


def _balanced(line: Line, year: int) -> bool:
    return _good(line, year) and line.figures.macs <= LIGHT_MACS and line.figures.parameters <= LIGHT_PARAMETERS


def _novel(line: Line, year: int) -> bool:
    return _imagenet(line, year) and line.family.year > year - NEW


def _timed(line: Line, year: int) -> bool:
    return _good(line, year) and line.ms is not None


GUIDES = {
    "accurate": Guide("Most accurate", "top-1 on ImageNet", _imagenet, "top1"),
    "here": Guide("Fastest here", f"of {GOOD:.0f} % top-1 or more, timed on this machine", _timed, "ms"),
    "fast": Guide("Least computation", f"of {GOOD:.0f} % top-1 or more", _good, "macs"),
    "small": Guide("Least memory", f"of {GOOD:.0f} % top-1 or more", _good, "parameters"),
    "balanced": Guide("Balanced", "up to 5 G multiply-adds and 30 M parameters", _balanced, "top1"),
    "novel": Guide("Novel", f"papers of the last {NEW} years", _novel, "top1"),
}


def answered(name: str, among: Sequence[Line]) -> list[Line]:
    """The lines that a guide chooses, the best answer first; all lines for a name that is no guide's."""
    if name not in GUIDES:
        return list(among)
    guide, newest = GUIDES[name], max(line.family.year for line in among)
    return find(Wanted(order=guide.order), [line for line in among if guide.fits(line, newest)])


def buttons(chosen: str, among: Sequence[Line]) -> str:
    """A button for each guide, with its first answer."""
    return f'<div class="guides">{"".join(_button(name, chosen == name, among) for name in GUIDES)}</div>'


def _button(name: str, pressed: bool, among: Sequence[Line]) -> str:
    guide, first = GUIDES[name], next(iter(answered(name, among)), None)
    heading = f"<small>{guide.title}: {guide.rule}</small>"
    if first is None:
        hint = "<b>none yet</b><small>Explore and Measure time models.</small>"
        return f'<button type="button" disabled>{heading}{hint}</button>'
    cost = f"{scaled(first.figures.macs / 1e9)} G multiply-adds, {scaled(first.figures.parameters / 1e6)} M parameters"
    cost = f"{scaled(first.ms)} ms here" if name == "here" and first.ms else cost
    return (
        f'<button type="button" data-do="guide" data-value="{name}" aria-pressed="{str(pressed).lower()}">'
        f"{heading}<b>{escape(first.architecture)}</b><small>{first.top1:.1f} %, {cost}</small></button>"
    )
