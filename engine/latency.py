"""How long a model's forward pass takes on this machine, measured so that the figure is repeatable.

Two medians of 10 runs can differ by a third, two of 100 runs by a hundredth: hence the warm-up, the many runs and the
stated n.
"""

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from engine import zerogpu
from engine.timing import Timing, count

WARMUPS = 3  # the first pass allocates memory and chooses kernels, so it takes about twice as long
PAUSE = 0.005  # seconds between two passes after which caches are cold, so that the next pass warms up anew
PATIENCE = 5  # a slow model may take this many times the requested seconds to reach the least number of runs


def measure(
    model: nn.Module,
    size: tuple[int, int],
    batch: int = 1,
    seconds: float = 3.0,
    min_runs: int = 40,
    max_runs: int = 400,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[float], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    threads: int | None = None,
) -> Timing:
    """Time forward passes on noise of `size` (height, width), where the model's parameters are and in their dtype.

    It takes about `seconds`, warm-up included; a slow model may take five times as long to reach `min_runs`. At least
    one warm-up and one run are made. After each, `stop` is asked and `progress` receives the share done, 0 to 1. The
    time that it takes is not counted; if caches turn cold meanwhile, neither is the pass after it. Passes are timed one
    by one by `clock`, and the device, which already has the images, is synchronised around each.
    With `threads`, each pass uses so many of PyTorch's, and between passes there are as many as before.
    Raises ValueError in training mode or on the meta device, and what the model raises for an unsupported size.
    """
    if min(seconds, min_runs, max_runs, batch) <= 0:
        raise ValueError("seconds, min_runs, max_runs and batch must be greater than zero.")
    x = _noise(model, size, batch)

    def timed() -> float:
        with _threads(threads):
            _synchronise(x.device)
            begun = clock()
            model(x)
            _synchronise(x.device)
            return clock() - begun

    with torch.inference_mode():
        warmups, runs = _series(timed, seconds, min_runs, max_runs, stop, progress, clock)
    return Timing(
        device=device_name(x.device),
        dtype=str(x.dtype).removeprefix("torch."),
        batch=batch,
        height=size[0],
        width=size[1],
        threads=(threads or torch.get_num_threads()) if x.device.type == "cpu" else None,
        warmups=len(warmups),
        n=len(runs),
        median_ms=1000 * statistics.median(runs),
        p10_ms=1000 * percentile(runs, 10),
        p90_ms=1000 * percentile(runs, 90),
        p99_ms=1000 * percentile(runs, 99),
        first_ms=1000 * warmups[0],
    )


def _noise(model: nn.Module, size: tuple[int, int], batch: int) -> Tensor:
    """Images where the model's parameters are and in their dtype. (B, 3, H, W)."""
    weight = next(chain(model.parameters(), model.buffers()), torch.empty(0))
    if model.training or weight.is_meta:
        raise ValueError("Only a model in eval mode, with weights in place, can be timed: load it, then call eval().")
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0)).to(weight)


def _series(
    timed: Callable[[], float],
    seconds: float,
    min_runs: int,
    max_runs: int,
    stop: Callable[[], bool] | None,
    progress: Callable[[float], None] | None,
    clock: Callable[[], float],
) -> tuple[list[float], list[float]]:
    """Warm up, then run for as long as `measure` says; return the seconds of each pass."""
    start, paused, cold = clock(), 0.0, False

    def more(n: int, last: float) -> bool:
        nonlocal paused, cold
        now = clock()
        elapsed = now - start - paused
        if progress is not None:
            share = max(n / max_runs, min(n / min_runs, elapsed / seconds), elapsed / (PATIENCE * seconds))
            progress(min(share, 1.0))
            cold = clock() - now > PAUSE
            paused += clock() - now
        if n >= max_runs or (stop is not None and stop()):
            return False
        return elapsed < seconds or (n < min_runs and elapsed + last <= PATIENCE * seconds)

    def run() -> float:
        if cold:
            timed()
        return timed()

    warmups = [timed()]
    while more(0, warmups[-1]) and len(warmups) < WARMUPS and clock() - start - paused < seconds:
        warmups.append(timed())
    runs = [run()]
    while more(len(runs), runs[-1]):
        runs.append(run())
    return warmups, runs


def percentile(times: Sequence[float], share: int) -> float:
    """By nearest rank: the least time that a share of the passes, in per cent, did not exceed."""
    return sorted(times)[-(-share * len(times) // 100) - 1]


def summary(times: Sequence[float]) -> tuple[float, float]:
    """Median and 90th percentile."""
    return statistics.median(times), percentile(times, 90)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let PyTorch use so many threads for a moment; None changes nothing."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)


def device_name(device: torch.device) -> str:
    """The maker's name of the chip; for a ZeroGPU GPU, with a note that it is a shared slice."""
    if device.type == "cpu":
        return _cpu_name()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_cpu_name()}, {device.type}"
    return f"{name}, shared slice (ZeroGPU)" if zerogpu.here() else name


def machine(device: torch.device) -> str:
    """What a timing holds for: the chip, the number of threads, and PyTorch."""
    on_demand = zerogpu.here()  # such a GPU can be asked only while it is lent
    chip = "ZeroGPU" if on_demand else device_name(device)
    return f"{chip}, {count(torch.get_num_threads(), 'thread')}, torch {torch.__version__}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(named, "").split()) or platform.processor() or platform.machine()


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
