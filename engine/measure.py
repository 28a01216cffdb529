"""Time models, and keep the results: a timing depends on the model and the machine, not on a photo."""

import time
from collections.abc import Callable
from dataclasses import replace

from engine.jobs import WAYS, Measured, Request, Step, Timing, Told
from engine.latency import measure
from engine.search import recipe
from engine.ways import Ready

SHORT = 1.5  # default seconds of measuring


class Timings:
    """The last timing of each model by each way. Its name settles the image size; the batch is 1."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._found: dict[tuple[str, str, str], tuple[float, Timing]] = {}

    def of(self, request: Request) -> dict[str, Measured]:
        """The timings of a model in a precision by way, the last measured first."""
        found = {way: self._found.get((request.model, request.precision, way)) for way in WAYS}
        known = {way: Measured(one[1], self._clock() - one[0]) for way, one in found.items() if one}
        return dict(sorted(known.items(), key=lambda pair: pair[1].age_s))

    def put(self, request: Request, way: str, timing: Timing) -> None:
        self._found[request.model, request.precision, way] = self._clock(), timing


def time_model(ready: Ready, name: str, seconds: float | None, told: Told) -> Timing:
    """Time the forward pass at the checkpoint's own image size, batch 1. The time that `told` takes is not counted."""

    def progress(share: float) -> None:
        told(Step(round(100 * share), 100, "Timing"))

    timing = measure(ready.run, recipe(name).size, seconds=seconds or SHORT, progress=progress)
    return replace(
        timing, way=ready.way, prepared_s=ready.prepared_s, change=ready.change, reach=ready.reach, note=ready.note
    )
