"""What a forward pass costs, known without any weights: parameters, multiply-adds, layers to look at.

The model is built and run on the meta device (zoo/meta.py): nothing is loaded or computed. The first count in a process
takes a second longer, while PyTorch imports its shape rules.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.catalogue import Figures, Priced, for_architecture
from zoo.meta import OnMeta
from zoo.probe import STAGES, Probe, Tap, probe, whole
from zoo.registry import create_meta, variant

USUAL_SIDE = 224  # pixels; for an architecture without a size in its config or a checkpoint


@dataclass(frozen=True)
class Cost:
    """The cost of one image through an architecture, at one size."""

    parameters: int
    macs: int  # multiply-adds of convolutions and matrix products, those inside attention included; nothing else
    activations: int  # numbers that these write: a guide to the memory that a pass moves
    height: int  # of the image, in pixels
    width: int
    attention_layers: tuple[tuple[str, int], ...]  # between positions: (path of the module, heads), in running order
    stages: tuple[tuple[str, tuple[int, int, int]], ...]  # after each stage or block: (tap, its map's C, H, W)

    @property
    def figures(self) -> Figures:
        """The same as a line of costs.tsv."""
        return Figures(self.parameters, self.macs, self.activations)

    @property
    def weight_bytes(self) -> int:
        return self.figures.weight_bytes


def cost(architecture: str, size: tuple[int, int] | None = None, num_classes: int | None = None) -> Cost:
    """Count the cost of one image of `size` (height, width); the native size unless given.

    Raises KeyError for an unknown architecture and ValueError for a size that it does not take.
    """
    height, width = size or native(architecture)[1:3]
    return _cost(architecture, height, width, num_classes)


def native(architecture: str) -> Priced:
    """An architecture with the size that it is built for, else that of its first checkpoint, and its own classes.

    (name, height and width in pixels, number of classes). Raises KeyError for an unknown architecture.
    """
    _, cfg = variant(architecture)
    usual = next((row.size for row in for_architecture(architecture)), (USUAL_SIDE, USUAL_SIDE))
    height, width = (cfg.img_size, cfg.img_size) if cfg.img_size else usual
    return architecture, height, width, cfg.num_classes


@lru_cache(4096)
def _cost(architecture: str, height: int, width: int, num_classes: int | None) -> Cost:
    overrides = {} if num_classes is None else {"num_classes": num_classes}
    model = create_meta(architecture, **overrides)
    count, seen = _forward(model, height, width)
    paths = {module: path for path, module in model.named_modules()}
    between_positions = [record for record in seen.attention if record.geometry is not None]
    heads = tuple((paths[record.layer], record.weights.shape[1]) for record in between_positions)
    parameters = sum(p.numel() for p in model.parameters())
    stages = tuple((name, _map_shape(tap)) for name, tap in seen.taps.items())
    return Cost(parameters, count.macs, count.activations, height, width, heads, stages)


def _map_shape(tap: Tap) -> tuple[int, int, int]:
    channels = tap.value.shape[1 if tap.layout == "NCHW" else -1]
    return channels, *tap.shape


def _forward(model: nn.Module, height: int, width: int) -> tuple["_Counter", Probe]:
    x = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), probe(taps=STAGES, attention=whole) as seen, _Counter() as counter:
        model(x)
    return counter, seen


class _Counter(OnMeta):
    """Adds up the formulas of FlopCounterMode, which itself would register hooks on all modules in all threads."""

    def __init__(self):
        super().__init__()
        self.macs = self.activations = 0
        self.formulas = FlopCounterMode(display=False).flop_registry

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        formula = self.formulas.get(func.overloadpacket)
        if formula is None:
            with self:  # in inference mode, `linear` and its like arrive whole: their parts have formulas
                out = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if out is NotImplemented else out
        out = func(*args, **kwargs)
        self.macs += formula(*args, **kwargs, out_val=out) // 2
        self.activations += (out[0] if isinstance(out, tuple) else out).numel()  # fused attention gives more beside
        return out
