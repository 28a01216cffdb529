"""Time models, and keep the results: a timing depends on the model and the machine, not on a photo."""

import time
from collections.abc import Callable

from engine.jobs import Measured, Step, Timing, Told
from engine.latency import measure
from engine.search import recipe
from zoo.base import Backbone

SHORT = 1.5  # default seconds of measuring


class Timings:
    """The last timing of each model. Its name settles the image size and the dtype; the batch is 1."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._found: dict[str, tuple[float, Timing]] = {}

    def get(self, name: str) -> Measured | None:
        if name not in self._found:
            return None
        when, timing = self._found[name]
        return Measured(timing, self._clock() - when)

    def put(self, name: str, timing: Timing) -> None:
        self._found[name] = self._clock(), timing


def time_model(model: Backbone, name: str, seconds: float | None, told: Told) -> Timing:
    """Time the forward pass at the checkpoint's own image size, batch 1. The time that `told` takes is not counted."""

    def progress(share: float) -> None:
        told(Step(round(100 * share), 100, "Timing"))

    return measure(model, recipe(name).size, seconds=seconds or SHORT, progress=progress)
