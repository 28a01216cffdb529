"""The result of a measurement of latency, and the sentence that says how it was made."""

import math
from dataclasses import dataclass

BUSY = 1.5  # medians that the 90th percentile does not exceed on a quiet machine
WAYS = {
    "plain": "as it is written",
    "fast": "accelerated in {:.1f} s (no output moves by more than {:.1g}; the largest is {:.1g})",
    "compiled": "torch.compile, which took {:.0f} s",
}


@dataclass(frozen=True)
class Timing:
    """The result of a measurement, and how it was made."""

    device: str  # as its maker names it
    dtype: str
    batch: int
    height: int
    width: int
    threads: int | None  # used by PyTorch; None unless on the CPU
    warmups: int  # passes before the first counted one
    n: int  # counted passes
    median_ms: float
    p10_ms: float  # one pass in ten took no longer
    p90_ms: float  # nine in ten
    p99_ms: float  # 99 in a hundred
    first_ms: float  # the very first pass
    peak_bytes: int | None = None  # weights, images, and the most tensors that a pass holds at once; None: not measured
    way: str = "plain"  # how the model ran: as it is written, or "fast" or "compiled"
    prepared_s: float = 0.0  # seconds that it took to accelerate or compile it
    change: float = 0.0  # how far an output is from that of the model as it is written, at most, and
    reach: float = 0.0  # the largest magnitude of an output
    note: str = ""  # why it, or a part of it, ran as it is written in spite of that

    @property
    def images_per_second(self) -> float:
        return 1000 * self.batch / self.median_ms

    @property
    def busy(self) -> bool:
        """Whether the passes took so unequal times that something else must have run on the machine."""
        return self.p90_ms > BUSY * self.median_ms

    def sentence(self) -> str:
        """State the figures and how they were measured, in one line."""
        busy = "; the machine was busy while it was measured" if self.busy else ""
        how = WAYS[self.way].format(self.prepared_s, self.change, self.reach) + self.note
        threads = "" if self.threads is None else f"{count(self.threads, 'thread')}, "
        return (
            f"{self.device}, {threads}{self.dtype}, {how}, batch {self.batch}, {self.height}x{self.width}: "
            f"median {_digits(self.median_ms)} ms, p90 {_digits(self.p90_ms)} ms of {count(self.n, 'run')} "
            f"after {count(self.warmups, 'warm-up')}; the model's forward alone, preprocessing left out{busy}"
        )


def count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _digits(ms: float) -> str:
    """Three significant digits, or more if whole milliseconds need them."""
    return f"{ms:.{max(0, 2 - math.floor(math.log10(ms)))}f}" if ms > 0 else "0"
