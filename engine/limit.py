"""How long one job may compute, so that a slow one does not keep the others for ever."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.jobs import EngineError

VARIABLE = "VISION_ZOO_SECONDS"
SECONDS = 600.0


def allowed() -> float:
    """Seconds that a job may compute, from the environment. Raises ValueError."""
    text = os.environ.get(VARIABLE, str(SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ValueError(f"{VARIABLE} is {text!r}: set it to a number of seconds greater than zero.")
    return seconds


class Limit:
    """The time that a job computes; what it waits does not count."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.seconds, self._clock = seconds, clock
        self._start = clock()

    def check(self) -> None:
        """Raise an EngineError when the time is up."""
        if self._clock() - self._start > self.seconds:
            raise EngineError(
                f"This took longer than the {self.seconds:g} seconds that {VARIABLE} allows here: choose a quicker "
                "explanation, a smaller model or fewer photos, or set it higher."
            )

    @contextmanager
    def paused(self) -> Iterator[None]:
        before = self._clock()
        yield
        self._start += self._clock() - before
