"""How a model is run for its latency or its guesses: as it is written, accelerated by zoo, or compiled by PyTorch."""

import threading
import time
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from engine.jobs import PRECISIONS, WAYS, EngineError
from zoo import Accelerated
from zoo.base import Backbone

DTYPES: dict[str, torch.dtype] = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16), strict=True))
NO_WAY = f"There is no such way: it is one of {', '.join(WAYS)}."
NO_PRECISION = f"There is no such precision: it is one of {', '.join(PRECISIONS)}."
ONLY_FAST = "Only the accelerated model computes in bfloat16: measure that, or choose float32."
NO_COMPILER = "torch.compile does not work here: it needs a C++ compiler, and not every model suits it."
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Ready:
    """A model in the way in which it is run, and what is known about that."""

    run: nn.Module
    way: str
    prepared_s: float = 0.0
    change: float = 0.0
    reach: float = 0.0
    note: str = ""


def check(way: str, precision: str) -> None:
    """Raise EngineError for a way or precision that does not exist."""
    if way not in WAYS:
        raise EngineError(NO_WAY)
    if precision not in PRECISIONS:
        raise EngineError(NO_PRECISION)
    if way != "fast" and precision != PRECISIONS[0]:
        raise EngineError(ONLY_FAST)


def noise(model: nn.Module, size: tuple[int, int], batch: int = 1) -> Tensor:
    """Images on which a model is tried. (B, 3, H, W), on the device of its weights."""
    x = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
    return x.to(next(chain(model.parameters(), model.buffers())).device)


def accelerated(fast: Accelerated) -> Ready:
    """An accelerated model, and what of it is as it was."""
    whole, some = fast.left.get(""), len(fast.left)
    note = f", but {whole}" if whole else f", {some} layers left as they were" if some else ""
    return Ready(fast, "fast", fast.seconds, fast.difference, fast.reach, note)


def compiled(model: Backbone, sample: Tensor) -> Ready:
    """Compile a model by PyTorch, and run it once, which is when that happens. Raises EngineError where it fails."""
    begun = time.perf_counter()
    with _ONE_AT_A_TIME, torch.inference_mode():
        torch.compiler.reset()  # it gives up on a class of which it has compiled eight objects
        try:
            run = torch.compile(model)
            found = run(sample)
        except Exception as error:  # a compiler can fail in any way
            raise EngineError(NO_COMPILER) from error
        expected = model(sample)
    assert isinstance(run, nn.Module)
    change, reach = (found - expected).abs().max().item(), expected.abs().max().item()
    return Ready(run, "compiled", time.perf_counter() - begun, change, reach)
