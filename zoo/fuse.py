"""Fold a model for inference: branches into single convolutions, batch norms into the layers that they follow.

    fast = zoo.fuse(zoo.load("resnet50.a1_in1k"))

The fused model gives the same output, up to rounding, in fewer steps; its keys are no longer a checkpoint's. Nothing
here knows a family: a block that folds in its own way has a method `folded()` (zoo/layers/reparam.py), and one forward
pass of a copy on the meta device shows which batch norm reads which convolution or linear layer. Ding et al. 2021,
"RepVGG: Making VGG-style ConvNets Great Again", arXiv:2101.03697, section 3.3.
"""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.base import Backbone
from zoo.layers.reparam import fold_norm
from zoo.meta import OnMeta, meta_copy

SIDE = 224  # of the image for the pass, if the model has no size of its own
MAKERS = torch.conv1d, torch.conv2d, F.linear  # what a batch norm can be folded into; the weight is the second argument
ROWS = Tensor.flatten, Tensor.reshape, Tensor.view, torch.flatten, torch.reshape  # these may keep a linear layer's rows
SHAPED_AS = Tensor.reshape_as, Tensor.view_as, Tensor.expand_as  # these read only the shape of their second argument
LAYERS = nn.Conv1d | nn.Conv2d | nn.Linear
NORMS = nn.BatchNorm1d | nn.BatchNorm2d


def fuse(model: Backbone, size: tuple[int, int] | None = None) -> Backbone:
    """Make a copy for inference in which branches and batch norms are folded; the model itself does not change.

    The copy shares the memory of weights that are not folded.

    `size` (height, width) is an image size that the model takes; its own, or 224 or more, unless given. A batch norm
    stays if no layer comes before it, or if something else reads its input. Raises what the model raises for a size it
    can't take.
    """
    side = model.img_size or max(SIDE, model.smallest)
    shared = {id(weight): nn.Parameter(weight.detach(), weight.requires_grad) for weight in model.parameters()}
    model = deepcopy(model, shared).eval()
    with torch.no_grad():
        _fold_blocks(model)
        for path, norm_path in _pairs(model, size or (side, side)):
            _fold(model, path, norm_path)
    return model


def _fold_blocks(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if callable(folded := getattr(child, "folded", None)):
            setattr(module, name, folded())
        else:
            _fold_blocks(child)


def _fold(model: nn.Module, path: str, norm_path: str) -> None:
    """Fold a batch norm into the layer that it follows; if the norm has an activation, that stays."""
    layer, norm = model.get_submodule(path), model.get_submodule(norm_path)
    assert isinstance(layer, LAYERS) and isinstance(norm, NORMS)
    trained = layer.weight.requires_grad
    layer.weight, layer.bias = (nn.Parameter(t, trained) for t in fold_norm(layer.weight, layer.bias, norm))
    parent, _, name = norm_path.rpartition(".")
    setattr(model.get_submodule(parent), name, getattr(norm, "act", nn.Identity()))


def _pairs(model: nn.Module, size: tuple[int, int]) -> list[tuple[str, str]]:
    """Paths of each layer and of the batch norm that alone reads its output; both run once a pass."""
    copy = meta_copy(model)
    with OnMeta(), _Readers(copy) as seen:
        copy(torch.empty(1, 3, *size, device="meta", dtype=next(copy.parameters()).dtype))
    makers, norms = list(seen.makers.values()), list(seen.norms.values())
    return [
        (maker, norm)
        for out, maker in seen.makers.items()
        if (norm := seen.norms.get(out)) and seen.reads[out] == 1 and makers.count(maker) == norms.count(norm) == 1
    ]


class _Readers(TorchFunctionMode):
    """Notes which layer made a tensor, how often it is read, and by which batch norm. Tensors are identified by id."""

    def __init__(self, model: nn.Module):
        super().__init__()
        modules = dict(model.named_modules())
        self.layers = {id(m.weight): path for path, m in modules.items() if isinstance(m, LAYERS)}
        self.statistics = {id(m.running_mean): path for path, m in modules.items() if isinstance(m, NORMS)}
        self.makers: dict[int, str] = {}
        self.reads: dict[int, int] = {}
        self.norms: dict[int, str | None] = {}
        self.rows: dict[int, int] = {}  # from a view of a linear layer's output to that output
        self.alive: list[Any] = []  # so that no id is reused

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out: Any = func(*args, **(kwargs or {}))
        if not isinstance(out, Tensor | tuple | list):  # a size or a device: nothing was read
            return out
        self.alive.append(out)
        given = args[:1] if func in SHAPED_AS else (*args, *(kwargs or {}).values())
        read = [self.rows.get(id(x), id(x)) for x in given if isinstance(x, Tensor)]
        first = read[0] if read else 0
        if func in ROWS and first in self.makers and isinstance(out, Tensor) and out.shape[-1] == args[0].shape[-1]:
            self.rows[id(out)] = first
            return out
        for x in read:
            self.reads[x] = self.reads.get(x, 0) + 1
        if func is F.batch_norm:
            self.norms[first] = self.statistics.get(id(args[1]))
        elif func in MAKERS and (path := self.layers.get(id(args[1]))):
            self.makers[id(out)] = path
        return out
