"""The roofline of a CPU: how fast it multiplies and how fast it reads memory, and the least time that a model needs.

A forward pass cannot take less time than its multiplications at the best rate that any kernel reaches here, nor less
than reading each weight once from memory. The second bound is only a guide for a model of few megabytes, whose weights
may stay in a cache between two passes. Williams et al. 2009, "Roofline: an insightful visual performance model".
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.rounds import interleave
from zoo.cost import Cost

SIDE = 2048  # of the matrices
GRID = 56  # cells of the convolutions' grid
ELEMENTS = 2**26  # of a vector in memory, 256 MiB in float32: more than any cache holds


@dataclass(frozen=True)
class Roofline:
    """The best rates that were reached on a machine."""

    float32: float  # floating-point operations a second; a multiply-add is two
    bfloat16: float
    bandwidth: float  # bytes a second
    reached_by: tuple[str, str, str]  # what reached each rate

    def least_ms(self, cost: Cost, dtype: torch.dtype) -> float:
        """Milliseconds that one image needs at least, computed in `dtype`, float32 or bfloat16."""
        rate = self.bfloat16 if dtype == torch.bfloat16 else self.float32
        return 1000 * max(2 * cost.macs / rate, cost.parameters * dtype.itemsize / self.bandwidth)


def measure(seconds: float = 4.0) -> Roofline:
    """Measure each of the three rates for about `seconds`. The best call counts: a roof is what can be reached."""
    with torch.inference_mode():
        (float32, by_float32), (bfloat16, by_bfloat16), (bandwidth, by_bandwidth) = (
            best(work, seconds) for work in (products(torch.float32), products(torch.bfloat16), streams())
        )
    return Roofline(float32, bfloat16, bandwidth, (by_float32, by_bfloat16, by_bandwidth))


Work = dict[str, tuple[float, Callable[[], object]]]  # what is done, how much of it (operations or bytes), and the call


def best(work: Work, seconds: float) -> tuple[float, str]:
    """The highest rate a second that any of the calls reached, and the name of that call."""
    times = interleave([call for _, call in work.values()], seconds, least=5, settle=1, counted=3)
    rates = [1000 * amount / min(kept) for (amount, _), kept in zip(work.values(), times, strict=True)]
    return max(zip(rates, work, strict=True))


def products(dtype: torch.dtype) -> Work:
    """Matrix products and convolutions, of sizes at which kernels are at their best.

    Matrix products go to another library than convolutions, and on some CPUs one of the two is much faster.
    """
    a, b = torch.randn(SIDE, SIDE, dtype=dtype), torch.randn(SIDE, SIDE, dtype=dtype)
    work: Work = {"matrix product": (2 * SIDE**3, lambda: a @ b)}
    for channels, kernel in (1024, 1), (256, 3):
        x = laid(torch.randn(1, channels, GRID, GRID, dtype=dtype))
        w = laid(torch.randn(channels, channels, kernel, kernel, dtype=dtype))
        work[f"{kernel}x{kernel} convolution"] = (
            2 * (channels * kernel * GRID) ** 2,
            lambda x=x, w=w, pad=kernel // 2: F.conv2d(x, w, padding=pad),
        )
    return work


def laid(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def streams() -> Work:
    """Passes over vectors that no cache holds; the bytes are those that a program reads and writes."""
    a, b, out = (torch.ones(ELEMENTS) for _ in range(3))
    size = ELEMENTS * a.itemsize
    return {
        "copy": (2 * size, lambda: out.copy_(a)),
        "triad": (3 * size, lambda: torch.add(a, b, alpha=3, out=out)),
        "sum": (size, lambda: a.sum()),
    }
