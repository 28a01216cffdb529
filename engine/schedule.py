"""One job computes at a time: two at once would spoil latencies and need twice the memory."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

BEAT = 1.0  # seconds between two reports to a waiting job
PATIENCE = 4  # quick jobs in a row that may go before a waiting slow one; then the slow one makes a step


class _Place(NamedTuple):
    """A job's place in the queue. Quick jobs sort first, then earlier ones."""

    slow: bool
    number: int


class Schedule:
    """A queue of jobs for one device: quick ones go first, and among equals the one that came first.

    A quick job keeps the device until it ends. A slow one lets waiting quick ones go first between its steps, but after
    PATIENCE of them in a row it makes one more step.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[_Place] = []
        self._holder: _Place | None = None
        self._passed = 0  # quick jobs in a row that went before a waiting slow one

    @contextmanager
    def turn(self, slow: bool, beat: Callable[[], None]) -> Iterator[Callable[[], None]]:
        """Wait for the device, then hold it. Yields a function to call between two steps.

        `beat` is called about once a second while the job waits; an exception from it ends the job.
        """
        place = _Place(slow, next(self._numbers))
        self._take(place, beat)
        try:
            yield lambda: self._give_way(place, beat)
        finally:
            self._give_back(place)

    def _take(self, place: _Place, beat: Callable[[], None]) -> None:
        due = time.monotonic() + BEAT
        with self._changed:
            self._waiting.append(place)
            try:
                while self._holder is not None or self._next() != place:
                    self._changed.wait(max(0.0, due - time.monotonic()))
                    if time.monotonic() >= due:
                        due += BEAT
                        beat()
                self._holder = place
            finally:
                self._waiting.remove(place)
                self._changed.notify_all()  # the job that left may have been next
            passes = not place.slow and any(other.slow for other in self._waiting)
            self._passed = self._passed + 1 if passes else 0

    def _next(self) -> _Place:
        slow = [place for place in self._waiting if place.slow]
        return min(slow if slow and self._passed >= PATIENCE else self._waiting)

    def _give_way(self, place: _Place, beat: Callable[[], None]) -> None:
        with self._changed:
            if not (place.slow and any(not other.slow for other in self._waiting)):
                return
        self._give_back(place)
        self._take(place, beat)

    def _give_back(self, place: _Place) -> None:
        with self._changed:
            if self._holder == place:  # false if the job ended while it waited
                self._holder = None
                self._changed.notify_all()
