"""One thing varied while a model is timed: the batch, the size of the image, the threads, or the number format."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from engine.archive import written
from engine.jobs import EngineError, Job, Request, Setting, Timing

MOST = 12  # points of a curve
FORMATS = {  # what is run -> way, precision
    "float32, as it is written": ("plain", "float32"),
    "float32, accelerated": ("fast", "float32"),
    "bfloat16, accelerated": ("fast", "bfloat16"),
}
VARIED = {"batch": "Batch size", "image": "Image side", "threads": "Threads", "format": "Number format"}
COLUMNS = (
    "model", "varied", "value", "median ms", "p10 ms", "p90 ms", "p99 ms", "images a second", "peak MB", "runs",
    "batch", "height", "width", "threads", "dtype", "way", "device", "problem",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One setting of a curve."""

    label: str
    setting: Setting
    way: str = "fast"
    precision: str = "float32"

    def job(self, model: str, seconds: float, visitor: str | None) -> Job:
        request = Request(model, precision=self.precision)
        return Job("time", request, way=self.way, seconds=seconds, setting=self.setting, visitor=visitor)


def usual(vary: str) -> list[int]:
    """The values that are measured unless others are asked for; none for formats."""
    cores = os.cpu_count() or 1
    threads = list(takewhile(lambda count: count < cores, (2**i for i in range(10))))
    return {"batch": [1, 2, 4, 8, 16], "image": [160, 192, 224, 256, 288], "threads": [*threads, cores]}.get(vary, [])


def points(vary: str, values: Sequence[int]) -> list[Point]:
    """The settings of a curve. Raises EngineError for what cannot be varied, and for too many values."""
    if vary not in VARIED:
        raise EngineError(f"What is varied is one of {', '.join(VARIED)}.")
    if vary == "format":
        return [Point(label, Setting(), *how) for label, how in FORMATS.items()]
    chosen = sorted(set(values)) or usual(vary)
    if len(chosen) > MOST:
        raise EngineError(f"At most {MOST} values at a time.")
    make = {
        "batch": lambda value: Setting(batch=value),
        "image": lambda value: Setting(size=(value, value)),
        "threads": lambda value: Setting(threads=value),
    }
    return [Point(str(value), make[vary](value)) for value in chosen]


def numbers(text: str) -> list[int]:
    """Whole numbers that a person typed, separated by anything else. Raises EngineError."""
    found = re.split(r"[\s,;]+", text.strip()) if text.strip() else []
    if not all(one.isdecimal() and len(one) <= 5 for one in found):
        raise EngineError("Values are whole numbers, such as 1, 2, 4.")
    return [int(one) for one in found]


Measurement = tuple[str, Point, Timing | str]  # model, setting, and the timing or why there is none


def sweep_csv(vary: str, found: Sequence[Measurement]) -> str:
    """All figures as CSV."""
    return written(COLUMNS, [(model, vary, point.label, *_cells(timing)) for model, point, timing in found])


def _cells(timing: Timing | str) -> tuple:
    if isinstance(timing, str):
        return (*[""] * (len(COLUMNS) - 4), timing)
    peak = None if timing.peak_bytes is None else timing.peak_bytes / 1e6
    times = timing.median_ms, timing.p10_ms, timing.p90_ms, timing.p99_ms
    how = timing.batch, timing.height, timing.width, timing.threads, timing.dtype, timing.way, timing.device
    return (*times, timing.images_per_second, peak, timing.n, *how, "")
