"""The plot of the benchmark: speed relative to timm eager, a row for each architecture, a mark for each path."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from tools.bench_table import Row, means

MEAN = "geometric mean"
# Okabe and Ito's colours, which people with any kind of colour vision can tell apart; the shapes say the same again.
MARKS = {
    "zoo plain": ("o", "#000000"),
    "zoo fast": ("D", "#D55E00"),
    "zoo fast bf16": ("*", "#CC79A7"),
    "timm channels last": ("v", "#56B4E9"),
    "timm compiled": ("^", "#0072B2"),
    "onnxruntime": ("s", "#009E73"),
    "openvino": ("P", "#E69F00"),
}
STEP = 0.09  # rows between two marks of a row, so that equal speeds do not hide each other
TICKS = 0.5, 0.7, 1, 1.4, 2, 3, 4, 6, 8


def plot(rows: Sequence[Row], title: str, path: Path) -> None:
    """Write the plot as SVG, 700 pixels wide at 96 pixels an inch."""
    names = list(dict.fromkeys(row.architecture for row in rows))
    points = {(row.architecture, row.path): row.speed for row in rows if row.speed is not None}
    points |= {(MEAN, of): mean for of, (mean, _) in means(rows).items()}
    lines = [*names, MEAN]
    settings = {"font.size": 9, "svg.hashsalt": "forward", "axes.edgecolor": "#888888", "svg.fonttype": "path"}
    with plt.rc_context(settings):
        figure, axes = plt.subplots(figsize=(7.3, 1.3 + 0.33 * len(lines)), layout="constrained", facecolor="white")
        for i in range(len(lines)):
            axes.axhline(i, color="#e4e4e4", linewidth=1, zorder=0)
        axes.axvline(1, color="#888888", linewidth=1, zorder=1)
        axes.axhline(len(names) - 0.5, color="#888888", linewidth=0.8, zorder=1)
        for k, (of, (mark, colour)) in enumerate(MARKS.items()):
            shift = STEP * (k - (len(MARKS) - 1) / 2)
            at = [(points[line, of], i + shift) for i, line in enumerate(lines) if (line, of) in points]
            size = 11 if mark == "*" else 7
            if at:
                axes.plot(*zip(*at, strict=True), mark, color=colour, label=of, markersize=size, mec="white", mew=0.6)
        axes.set_xscale("log")
        low, high = min(points.values()), max(points.values())
        axes.set_xlim(low / 1.08, high * 1.08)
        axes.set_xticks([tick for tick in TICKS if low / 1.08 < tick < high * 1.08])
        axes.xaxis.set_major_formatter("{x:g} x")
        axes.minorticks_off()
        axes.set_yticks(range(len(lines)), lines)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_xlabel("speed relative to timm eager (right is faster)")
        axes.set_title(title, fontsize=9, loc="left", color="#444444")
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
