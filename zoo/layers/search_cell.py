"""Cells that a search found, read off a table: sums of two operations each, on the cell's inputs and on earlier sums.

    (sep5, NEW, mean3, OLD)        5x5 separable convs of the newer input + 3x3 mean of the older one
    (sep3, 0, same, 1)             3x3 separable convs of the first row's sum + the second row's sum
    Plan((...), (OLD, 0, 1))       a cell: its rows, and which of its inputs and sums are concatenated

The inputs are the outputs of two earlier cells, brought to the cell's channels and grid. In a cell that halves the grid
all operations on them do so. Zoph et al. 2017, "Learning Transferable Architectures for Scalable Image Recognition",
arXiv:1707.07012. Padding is TensorFlow's, except that a strided mean counts zeros beyond the border.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.conv import conv, same_conv
from zoo.layers.drop import DropPath

OLD, NEW = -2, -1  # a cell's inputs; its sums are numbered from 0
Operation = Callable[[int, int, int], nn.Module]  # given dim_in, dim and stride
Fit = Literal["keep", "conv", "halve", "halve_here"]
Sum = tuple[Operation, int, Operation, int]  # two operations, and what each of them reads


@dataclass(frozen=True)
class Plan:
    """The table of a cell."""

    sums: tuple[Sum, ...]
    joined: tuple[int, ...]  # what the output concatenates


def norm(dim: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(dim, eps=1e-3)


def act_conv(dim_in: int, dim: int, stride: int = 1) -> nn.Sequential:
    """Make relu -> 1x1 conv -> norm. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    return nn.Sequential(OrderedDict(act=nn.ReLU(), conv=conv(dim_in, dim, 1, stride), bn=norm(dim)))


def separable(kernel: int, dim_in: int, dim: int, stride: int) -> nn.Sequential:
    """Make relu -> depthwise conv -> 1x1 conv -> norm, twice; the first has the stride.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.
    """
    layers = OrderedDict[str, nn.Module]()
    for i, (before, step) in enumerate(((dim_in, stride), (dim, 1)), 1):
        depthwise, pointwise = same_conv(before, before, kernel, step, before), conv(before, dim, 1)
        layers[f"act_{i}"] = nn.ReLU(inplace=i > 1)
        layers[f"separable_{i}"] = nn.Sequential(OrderedDict(depthwise_conv2d=depthwise, pointwise_conv2d=pointwise))
        layers[f"bn_sep_{i}"] = norm(dim)
    return nn.Sequential(layers)


class Pool(nn.Module):
    """Maximum or mean of 3x3 cells. (B, C, H, W) -> (B, C, H/stride, W/stride), rounded up."""

    def __init__(self, stride: int, mean: bool = False):
        super().__init__()
        self.stride, self.mean = stride, mean

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        before = (1, 1) if self.stride == 1 else (height % 2, width % 2)  # rows and columns of the first window
        if not self.mean:
            return F.max_pool2d(x, 3, self.stride, before, ceil_mode=True)
        count = None if self.stride == 1 else 9  # None: of the cells that are there
        return F.avg_pool2d(x, 3, self.stride, before, True, count_include_pad=False, divisor_override=count)


def max3(dim_in: int, dim: int, stride: int) -> nn.Module:
    """Make a max pool, and a conv where channels differ. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
    if dim_in == dim:
        return Pool(stride)
    return nn.Sequential(OrderedDict(max_pool=Pool(stride), conv=conv(dim_in, dim, 1), bn=norm(dim)))


def mean3(dim_in: int, dim: int, stride: int) -> nn.Module:
    return Pool(stride, mean=True)


def same(dim_in: int, dim: int, stride: int) -> nn.Module:
    """The identity, or a conv that halves the grid. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
    return nn.Identity() if stride == 1 else act_conv(dim_in, dim, stride)


sep3, sep5, sep7 = (partial(separable, kernel) for kernel in (3, 5, 7))


def add_halving(parent: nn.Module, dim_in: int, dim: int) -> None:
    """Add to a module the layers that `halve` runs."""
    shift = nn.ZeroPad2d((-1, 1, -1, 1))  # begin with the second row and column
    parent.add_module("path_1", nn.Sequential(OrderedDict(conv=conv(dim_in, dim // 2, 1, 2))))
    parent.add_module("path_2", nn.Sequential(OrderedDict(pad=shift, conv=conv(dim_in, dim // 2, 1, 2))))
    parent.add_module("final_path_bn", norm(dim))


def halve(parts: nn.Module, x: Tensor) -> Tensor:
    """Relu -> 1x1 convs of every other pixel and of their neighbours -> norm.

    (B, dim_in, H, W) -> (B, dim, H/2, W/2), rounded up.
    """
    x = x.relu()
    paths = [parts.get_submodule(name)(x) for name in ("path_1", "path_2")]
    return parts.get_submodule("final_path_bn")(torch.cat(paths, 1))


class Halve(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/2, W/2), rounded up."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        add_halving(self, dim_in, dim)

    def forward(self, x: Tensor) -> Tensor:
        return halve(self, x)


class Cell(nn.Module):
    """What a plan says. (B, dims_in[0], ...), (B, dims_in[1], H, W) -> (B, dim, H/stride, W/stride), rounded up.

    `inner` is the channels of each sum. `fit` brings the older input to these and to the newer one's grid: "keep" does
    nothing, "conv" is a 1x1 conv, "halve" is `Halve`, and "halve_here" the same with its layers in the cell itself.
    """

    def __init__(self, dims_in: tuple[int, int], inner: int, plan: Plan, stride: int, fit: Fit, drop_path: float):
        super().__init__()
        self.plan, self.fit, self.dim = plan, fit, inner * len(plan.joined)
        self.drop_path = DropPath(drop_path)
        if fit == "halve_here":
            add_halving(self, dims_in[0], inner)
        elif fit != "keep":
            self.conv_prev_1x1 = (Halve if fit == "halve" else act_conv)(dims_in[0], inner)
        self.conv_1x1 = act_conv(dims_in[1], inner)
        for i, (left, read_left, right, read_right) in enumerate(plan.sums):
            for name, make, read in (("left", left, read_left), ("right", right, read_right)):
                dim = dims_in[0] if read == OLD and fit == "keep" else inner
                self.add_module(f"comb_iter_{i}_{name}", make(dim, inner, stride if read < 0 else 1))

    def fitted(self, old: Tensor) -> Tensor:
        if self.fit == "keep":
            return old
        return halve(self, old) if self.fit == "halve_here" else self.conv_prev_1x1(old)

    def operate(self, name: str, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, inner, H/stride, W/stride). Training drops whole operations at random."""
        layer = self.get_submodule(name)
        return x if isinstance(layer, nn.Identity) else self.drop_path(layer(x))

    def forward(self, old: Tensor, new: Tensor) -> Tensor:
        nodes = {OLD: self.fitted(old), NEW: self.conv_1x1(new)}
        for i, (_, left, _, right) in enumerate(self.plan.sums):
            y = self.operate(f"comb_iter_{i}_left", nodes[left])
            nodes[i] = y + self.operate(f"comb_iter_{i}_right", nodes[right])
        return torch.cat([nodes[i] for i in self.plan.joined], 1)
