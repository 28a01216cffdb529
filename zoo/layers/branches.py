"""Inception's cells, whose branches see the same input and are concatenated, and nets of them, written as tables.

    (96, 3)              a conv of 96 channels, 3x3, with batch norm and relu; it keeps the grid
    (96, 3, 2)           the same with stride 2, unpadded
    (96, 3, 1, 0)        with its padding named: unpadded, though its stride is 1
    [MEAN, (96, 1)]      a branch: steps one after another; a step may also be a function
    [(384, 1), [(256, (1, 3)), (256, (3, 1))]]        a branch that ends in two convs side by side
    {"branch0": [(96, 1)], "branch1.{}": [...]}       a cell: {} is the number of a step in the keys of its weights

Szegedy et al. 2014, "Going Deeper with Convolutions", arXiv:1409.4842.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.norm import BatchNormAct2d

Function = Callable[[Tensor], Tensor]
Conv = tuple[Any, ...]  # channels, kernel, stride, padding
Branches = Mapping[str, list[Conv | Function | list[Conv]]]
Row = Conv | Branches | Callable[[int], nn.Module]  # the last: given the channels, it makes a layer that keeps them

MAX: Function = partial(F.max_pool2d, kernel_size=3, stride=2)
MEAN: Function = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1)
MEAN_INSIDE: Function = partial(MEAN, count_include_pad=False)  # at the border, of the cells that are there


def conv_norm(dim_in: int, dim: int, kernel: int | tuple[int, int], stride: int = 1, padding: int | None = None):
    """Make a conv with batch norm and relu. (B, dim_in, H, W) -> (B, dim, H, W), or less of a grid if not padded."""
    high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
    kept = (high // 2, wide // 2) if stride == 1 else 0
    conv = nn.Conv2d(dim_in, dim, (high, wide), stride, kept if padding is None else padding, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=BatchNormAct2d(dim, partial(nn.ReLU, inplace=True), eps=1e-3)))


def put(parent: nn.Module, path: str, layer: nn.Module) -> None:
    """Add a layer to a module, or to one inside it: "branch1.0" is the layer "0" of "branch1"."""
    above, _, name = path.rpartition(".")
    if above and above not in parent._modules:
        parent.add_module(above, nn.Module())
    parent.get_submodule(above).add_module(name, layer)


def add_rows(parent: nn.Module, dim: int, rows: Mapping[str, Row], first: int = 0) -> int:
    """Add a net's layers by name, each of which reads the one before. -> the channels after the last."""
    for name, row in rows.items():
        if isinstance(row, tuple):
            layer, dim = conv_norm(dim, *row), row[0]
        elif isinstance(row, Mapping):
            layer = Cell(dim, row, first)
            dim = layer.dim
        else:
            layer = row(dim)
        put(parent, name, layer)
    return dim


class Cell(nn.Module):
    """Branches side by side. (B, dim_in, H, W) -> (B, dim, H, W), or less of a grid if they are not padded.

    `first` is the number of a branch's first step.
    """

    def __init__(self, dim_in: int, branches: Branches, first: int = 0):
        super().__init__()
        self.dim = 0
        self.branches: list[list[Function | list[str]]] = []  # the convs by their names
        for name, branch in branches.items():
            dims, steps = [dim_in], []
            for i, step in enumerate(branch, first):
                if callable(step):
                    steps.append(step)
                    continue
                convs = [(f"{i}a", step[0]), (f"{i}b", step[1])] if isinstance(step, list) else [(f"{i}", step)]
                for number, conv in convs:
                    put(self, name.format(number), conv_norm(dims[0], *conv))
                dims = [conv[0] for _, conv in convs]
                steps.append([name.format(number) for number, _ in convs])
            self.branches.append(steps)
            self.dim += sum(dims)

    def forward(self, x: Tensor) -> Tensor:
        ends = []
        for steps in self.branches:
            reached = [x]
            for step in steps:
                y = reached[0]
                reached = [step(y)] if callable(step) else [self.get_submodule(name)(y) for name in step]
            ends += reached
        return torch.cat(ends, 1)
