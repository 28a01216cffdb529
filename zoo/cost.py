"""What a forward pass costs, known before any weight is: parameters, multiply-adds, layers to look at.

The model is built and run on the meta device (zoo/meta.py): nothing is loaded or computed. The first count of a process
takes a second longer: PyTorch imports what knows these shapes.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.catalogue import for_architecture
from zoo.meta import OnMeta
from zoo.probe import STAGES, Probe, probe, whole
from zoo.registry import create, variant

USUAL_SIDE = 224  # pixels; where neither the config nor a checkpoint names a size


@dataclass(frozen=True)
class Cost:
    """One picture through an architecture, at one size."""

    parameters: int
    macs: int  # multiply-adds of convolutions and matrix products, attention's own included; nothing else counts
    weight_bytes: int  # the parameters in float32
    height: int  # of the picture, in pixels
    width: int
    attention_layers: tuple[tuple[str, int], ...]  # between places: (path of the module, heads), in the order they run
    stages: tuple[str, ...]  # taps behind the stages, or blocks


def cost(architecture: str, size: tuple[int, int] | None = None, num_classes: int | None = None) -> Cost:
    """Count what one picture of `size` (height, width) takes; the native size unless given.

    Raises KeyError for an unknown architecture and ValueError for a size that it cannot take.
    """
    height, width = size or native_size(architecture)
    return _cost(architecture, height, width, num_classes)


def native_size(architecture: str) -> tuple[int, int]:
    """The size that an architecture is made for, else that of its first checkpoint. (height, width) in pixels."""
    _, cfg = variant(architecture)
    side = cfg.img_size
    return (side, side) if side else next((c.size for c in for_architecture(architecture)), (USUAL_SIDE, USUAL_SIDE))


@lru_cache(4096)
def _cost(architecture: str, height: int, width: int, num_classes: int | None) -> Cost:
    overrides = {} if num_classes is None else {"num_classes": num_classes}
    with torch.device("meta"):
        model = create(architecture, **overrides)
    macs, seen = _forward(model, height, width)
    paths = {module: path for path, module in model.named_modules()}
    between_places = [record for record in seen.attention if record.geometry is not None]
    heads = tuple((paths[record.layer], record.weights.shape[1]) for record in between_places)
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, macs, parameters * torch.float32.itemsize, height, width, heads, tuple(seen.taps))


def _forward(model: nn.Module, height: int, width: int) -> tuple[int, Probe]:
    x = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), probe(taps=STAGES, attention=whole) as seen, _Counter() as counter:
        model(x)
    return counter.flops // 2, seen


class _Counter(OnMeta):
    """Adds up the formulas of FlopCounterMode, which itself would hang hooks on every module of every thread."""

    def __init__(self):
        super().__init__()
        self.flops = 0
        self.formulas = FlopCounterMode(display=False).flop_registry

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        formula = self.formulas.get(func.overloadpacket)
        if formula is None:
            with self:  # in inference mode, `linear` and its like come here whole: their parts have formulas
                out = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if out is NotImplemented else out
        out = func(*args, **kwargs)
        self.flops += formula(*args, **kwargs, out_val=out)
        return out
