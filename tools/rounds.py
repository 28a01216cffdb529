"""Calls of several sides, timed in interleaved rounds of one process."""

import random
import time
from collections.abc import Callable, Sequence


def interleave(
    sides: Sequence[Callable[[], object]], seconds: float, least: int = 20, settle: int = 0, counted: int = 1
) -> list[list[float]]:
    """Milliseconds of each side's calls, in rounds for `seconds` in total and until each has at least `least`.

    Each round has a random order: what ran before a side, and the memory that it used, changes its time by a per cent.
    Where the sides bring threads or large weights of their own, `settle` calls that do not count begin each turn, and
    `counted` follow: other runtimes' threads have then gone to sleep, and the caches hold what the side itself uses.
    """
    for side in sides:
        side()
    times: list[list[float]] = [[] for _ in sides]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < least:
        for i in random.sample(range(len(sides)), len(sides)):
            for _ in range(settle):
                sides[i]()
            for _ in range(counted):
                start = time.perf_counter()
                sides[i]()
                times[i].append(1000 * (time.perf_counter() - start))
    return times
