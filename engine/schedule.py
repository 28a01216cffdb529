"""One job computes at a time: two at once would spoil latencies and need twice the memory."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NamedTuple

BEAT = 1.0  # seconds between two reports to a waiting job
PATIENCE = 4  # quick jobs in a row that may go before a waiting slow one; then the slow one makes a step


class Priority(IntEnum):
    """Who goes first: a lower number does."""

    QUICK = 0  # somebody waits for it, and it ends soon
    SLOW = 1
    IDLE = 2  # nobody waits for it


class _Place(NamedTuple):
    """A job's place in the queue. Quick jobs sort first, idle ones last, and among equals the earlier one first."""

    priority: Priority
    number: int
    visitor: str | None

    @property
    def line(self) -> object:
        """Of the jobs in one line, one begins when the one before it has ended: a visitor's slow ones."""
        return self.visitor if self.visitor and self.priority == Priority.SLOW else self.number


class Schedule:
    """A queue of jobs for one device: quick ones go first, and among equals the one that came first.

    A quick job keeps the device until it ends. A slow one lets waiting quick ones go first between its steps, but after
    PATIENCE of them in a row it makes one more step; of one visitor's, the next begins when the one before has ended.
    An idle one starts only when no other has the device or waits for it, and lets all others go first between its
    steps, for as long as there are any.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[_Place] = []
        self._holder: _Place | None = None
        self._begun: dict[object, _Place] = {}  # by their lines
        self._passed = 0  # quick jobs in a row that went before a waiting slow one

    @contextmanager
    def turn(
        self, priority: Priority, beat: Callable[[int], None], visitor: str | None = None
    ) -> Iterator[Callable[[], None]]:
        """Wait for the device, then hold it. Yields a function to call between two steps.

        `beat` is called about once a second while the job waits, with the number of jobs that go first; an exception
        from it ends the job.
        """
        place = _Place(priority, next(self._numbers), visitor)
        try:
            self._take(place, beat)
            yield lambda: self._give_way(place, beat)
        finally:
            self._give_back(place, ended=True)

    def _take(self, place: _Place, beat: Callable[[int], None]) -> None:
        due = time.monotonic() + BEAT
        with self._changed:
            self._waiting.append(place)
            try:
                while self._holder is not None or self._next() != place:
                    self._changed.wait(max(0.0, due - time.monotonic()))
                    if time.monotonic() >= due:
                        due += BEAT
                        beat(self._ahead(place))
                self._holder = self._begun[place.line] = place
            finally:
                self._waiting.remove(place)
                self._changed.notify_all()  # the job that left may have been next
            passes = place.priority == Priority.QUICK and self._slow()
            self._passed = self._passed + 1 if passes else 0

    def _ahead(self, place: _Place) -> int:
        """How many jobs go before one that waits, the one that has the device included."""
        return sum(other < place for other in self._waiting) + (self._holder is not None)

    def _next(self) -> _Place | None:
        slow = self._slow()
        return min(slow if slow and self._passed >= PATIENCE else self._ready(), default=None)

    def _ready(self) -> list[_Place]:
        """Those that wait for the device alone, and not for another job of their line."""
        return [place for place in self._waiting if self._begun.get(place.line, place) == place]

    def _slow(self) -> list[_Place]:
        return [place for place in self._ready() if place.priority == Priority.SLOW]

    def _give_way(self, place: _Place, beat: Callable[[int], None]) -> None:
        with self._changed:
            if all(other.priority >= place.priority for other in self._ready()):
                return
        self._give_back(place)
        self._take(place, beat)

    def _give_back(self, place: _Place, ended: bool = False) -> None:
        with self._changed:
            if self._holder == place:  # false if the job ended while it waited
                self._holder = None
            if ended and self._begun.get(place.line) == place:
                del self._begun[place.line]
            self._changed.notify_all()
