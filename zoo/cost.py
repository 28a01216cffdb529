"""What a forward pass costs, known before any weight is: parameters, multiply-adds, layers to look at.

The model is built and run on the meta device, where tensors have shapes and no numbers: nothing is loaded or computed.
The first count of a process takes a second longer: PyTorch imports what knows these shapes.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from zoo.catalogue import for_architecture
from zoo.probe import STAGES, Probe, probe, whole
from zoo.registry import create, variant

USUAL_SIDE = 224  # pixels; where neither the config nor a checkpoint names a size
CIFAR_SIDE = 32  # the same, for the sizes called after CIFAR
TAKES_MIXED = (torch.ops.aten.index, torch.ops.aten.index_put_)  # a mask's length is its values: it has to stay real


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
    size = getattr(cfg, "img_size", None)
    if size is None:
        usual = CIFAR_SIDE if architecture.endswith("_cifar") else USUAL_SIDE
        size = next((c.size for c in for_architecture(architecture)), usual)
    return (size, size) if isinstance(size, int) else size


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


class _Counter(TorchDispatchMode):
    """Adds up the formulas of FlopCounterMode, which itself would hang hooks on every module of every thread.

    Tables that a model makes from the picture's size alone are computed for real, on the CPU, even where it asks for
    its own device: only numbers tell which slots of a window are padding. They turn to meta as they meet it.
    """

    def __init__(self):
        super().__init__()
        self.flops = 0
        self.formulas = FlopCounterMode(display=False).flop_registry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not tensors and "device" in kwargs:
            kwargs = kwargs | {"device": "cpu"}
        elif any(t.is_meta for t in tensors) and func.overloadpacket not in TAKES_MIXED:
            args, kwargs = tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, (args, kwargs))
        formula = self.formulas.get(func.overloadpacket)
        if formula is None:
            with self:  # in inference mode, `linear` and its like come here whole: their parts have formulas
                out = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if out is NotImplemented else out
        out = func(*args, **kwargs)
        self.flops += formula(*args, **kwargs, out_val=out)
        return out
