"""HTML of a measurement: latency and throughput as curves, every figure in a table, and how it was measured."""

from collections.abc import Callable, Sequence
from html import escape

from engine import Timing
from engine.sweep import VARIED, Measurement
from engine.timing import BUSY
from ui import plots
from ui.parts import SAVE_CSV
from ui.table import scaled

HEADS = {
    "Median": "ms", "p10": "ms", "p90": "ms", "p99": "ms", "Images": "a second", "Peak memory": "MB", "Runs": "",
}  # fmt: skip
BUSY_NOTE = "In rows marked busy, nine passes in ten took up to more than {:g} times the median: something else ran."
MEMORY = (
    "Peak memory is that of the weights, the images and the most tensors that a pass holds at once; on a CPU without "
    "what a kernel takes for itself."
)


def curves(vary: str, found: Sequence[Measurement], done: bool) -> str:
    """Everything that was measured so far."""
    top = f'<div class="bar-top"><h2>{VARIED[vary]}</h2>{SAVE_CSV if done else ""}</div>'
    timings = [timing for _, _, timing in found if isinstance(timing, Timing)]
    how = f'<p class="how">{_how(timings)}</p>' if timings else ""
    return top + _plots(vary, found) + table(vary, found) + how


def _how(timings: Sequence[Timing]) -> str:
    first = timings[0]
    counts = sorted({timing.threads for timing in timings if timing.threads})
    threads = f", {' or '.join(map(str, counts))} thread{'s' * (counts != [1])}" if counts else ""
    told = [
        f"{escape(first.device)}{threads}; the model's forward alone, on noise, after {first.warmups} warm-ups.",
        "Percentiles are of the counted passes: p90 is what nine in ten did not exceed.",
        MEMORY,
    ]
    return " ".join([*told, BUSY_NOTE.format(BUSY)] if any(timing.busy for timing in timings) else told)


def table(vary: str, found: Sequence[Measurement]) -> str:
    """A row for each setting of each model."""
    heads = "".join(f'<th scope="col">{head}<small>{unit}</small></th>' for head, unit in HEADS.items())
    rows = ""
    for model, point, timing in found:
        name = f'<th scope="row">{escape(model)}</th><td>{escape(point.label)}</td>'
        if isinstance(timing, str):
            rows += f'<tr>{name}<td colspan="{len(HEADS)}">{escape(timing)}</td></tr>'
            continue
        peak = "" if timing.peak_bytes is None else scaled(timing.peak_bytes / 1e6)
        times = [scaled(ms) for ms in (timing.median_ms, timing.p10_ms, timing.p90_ms, timing.p99_ms)]
        runs = f"{timing.n}{' <em>busy</em>' if timing.busy else ''}"
        cells = "".join(f"<td>{cell}</td>" for cell in (*times, scaled(timing.images_per_second), peak, runs))
        rows += f"<tr>{name}{cells}</tr>"
    first = f'<th scope="col">Model</th><th scope="col">{VARIED[vary]}</th>'
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="All figures">'
        f"<table><thead><tr>{first}{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _plots(vary: str, found: Sequence[Measurement]) -> str:
    """Latency and throughput; the table says the same in figures."""
    drawn = [_plot(found, "Latency, ms", lambda timing: timing.median_ms)]
    drawn.append(_plot(found, "Images a second", lambda timing: timing.images_per_second))
    names = list(dict.fromkeys(model for model, _, timing in found if isinstance(timing, Timing)))
    marks = "".join(
        f'<span><i style="background:{plots.COLOURS[number]}"></i>{escape(name)}</span>'
        for number, name in enumerate(names)
    )
    return f'<p class="legend">{marks}</p><div class="plots">{"".join(drawn)}</div>' if names else ""


def _plot(found: Sequence[Measurement], title: str, value: Callable[[Timing], float]) -> str:
    measured = [(model, point, timing) for model, point, timing in found if isinstance(timing, Timing)]
    if not measured:
        return ""
    labels, axes = list(dict.fromkeys(point.label for _, point, _ in found)), plots.axes()
    axes.set_xticks(range(len(labels)), labels)
    for number, name in enumerate(dict.fromkeys(model for model, _, _ in measured)):
        curve = [(labels.index(point.label), value(timing)) for model, point, timing in measured if model == name]
        plots.line(axes, curve, number=number)
    axes.set_ylim(0, 1.1 * max(value(timing) for _, _, timing in measured))
    told = f'role="img" aria-label="{title}: the table below has the figures."'
    return f"<figure><figcaption>{title}</figcaption><div {told}>{plots.svg(axes)}</div></figure>"
