"""Tables that depend on a grid alone: made once, and kept for the next pass."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def kept(count: int | None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep the last `count` tables that a function made (None: all).

    They are made outside inference mode, as an inference tensor could never serve a training step. While torch.export
    follows a model, nothing is kept: its tensors have no values.
    """

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        once = lru_cache(count)(torch.inference_mode(False)(make))

        @wraps(make)
        def table(*args: P.args, **kwargs: P.kwargs) -> R:
            return make(*args, **kwargs) if torch.compiler.is_compiling() else once(*args, **kwargs)

        return table

    return decorate
