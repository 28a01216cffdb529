"""Time a model and keep the result for an hour: a timing depends on the model and the machine, not on a photo."""

import time
from collections.abc import Callable

from engine.jobs import Step, Timing, Told
from engine.latency import measure
from engine.search import recipe
from zoo.base import Backbone

SHORT = 1.5  # default seconds of measuring
KEPT = 3600.0  # seconds that a timing is kept
STRETCH = 0.2  # seconds of passes between two steps, because the first pass after a pause finds cold caches


class Timings:
    """Timings of the last hour, by model."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._found: dict[str, tuple[float, Timing]] = {}

    def get(self, name: str) -> Timing | None:
        when, timing = self._found.get(name, (-KEPT, None))
        return timing if self._clock() - when < KEPT else None

    def put(self, name: str, timing: Timing) -> None:
        self._found[name] = self._clock(), timing


def time_model(model: Backbone, name: str, seconds: float | None, told: Told) -> Timing:
    """Time the forward pass at the checkpoint's own image size, batch 1. The time that `told` takes is not counted."""
    away, told_at = 0.0, time.perf_counter()

    def clock() -> float:
        return time.perf_counter() - away

    def progress(share: float) -> None:
        nonlocal away, told_at
        now = time.perf_counter()
        if now - told_at >= STRETCH:
            told(Step(round(100 * share), 100, "Timing"))
            told_at = time.perf_counter()
            away += told_at - now

    return measure(model, recipe(name).size, seconds=seconds or SHORT, progress=progress, clock=clock)
