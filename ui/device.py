"""Work on the device: on ZeroGPU inside a borrowed GPU, elsewhere as it is."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

try:
    import spaces  # pyright: ignore[reportMissingImports]  # only a ZeroGPU Space has it
except ImportError:
    spaces = None

P = ParamSpec("P")
R = TypeVar("R")

# Every event that computes shares this queue of one: side by side, latencies would lie and memory would double.
QUEUE: dict[str, Any] = dict(concurrency_id="device", concurrency_limit=1)


def on_device(seconds: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Ask ZeroGPU for `seconds` of its GPU around each call; a visitor's daily share pays for what is asked."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        return function if spaces is None else spaces.GPU(duration=seconds)(function)

    return wrap
