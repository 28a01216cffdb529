"""ZeroGPU, on Hugging Face Spaces: a GPU is lent per call, and each call runs in its own process."""

import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

try:
    import spaces  # pyright: ignore[reportMissingImports]  # only a Space has this package
except ImportError:
    spaces = None

TRUE = ("1", "t", "true")  # as the Spaces library reads its switches
P = ParamSpec("P")
R = TypeVar("R")


def here() -> bool:
    """Whether this process runs on ZeroGPU."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in TRUE


def lent(function: Callable[P, R], seconds: Callable[P, int]) -> Callable[P, R] | None:
    """The function with a GPU lent for each call; None without ZeroGPU.

    `seconds` says how long a call may take, which counts against the visitor's daily quota. Arguments and results are
    pickled.
    """
    if spaces is None or not here():
        return None
    return spaces.GPU(duration=seconds)(function)
