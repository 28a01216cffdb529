"""ZeroGPU, on Hugging Face Spaces: a GPU is lent call by call, and each call runs in a process of its own."""

import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from engine.latency import TRUE

try:
    import spaces  # pyright: ignore[reportMissingImports]  # only a Space has it
except ImportError:
    spaces = None

P = ParamSpec("P")
R = TypeVar("R")


def lent(function: Callable[P, R], seconds: Callable[P, int]) -> Callable[P, R] | None:
    """The function with a GPU around each call; None where there is no ZeroGPU.

    `seconds` says how long a call may take: a visitor's daily share pays for that. What goes in and out is pickled.
    """
    if spaces is None or os.environ.get("SPACES_ZERO_GPU", "").lower() not in TRUE:
        return None
    return spaces.GPU(duration=seconds)(function)
