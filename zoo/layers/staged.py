"""The blocks of timm's staged nets, each as the table row (zoo/layers/table.py) that makes it.

A row lists the layers of its blocks' branch in order, under the names that the checkpoints have. What is added to the
branch, and what follows the sum, is the same for all: a new kind of block is a row with another list.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from zoo.layers.drop import DropPath
from zoo.layers.mbconv import StyledConv
from zoo.layers.norm import Act
from zoo.layers.table import Row, Style, Table
from zoo.layers.width import make_divisible

SILU = partial(nn.SiLU, inplace=True)
Layers = dict[str, nn.Module]


def conv_norm(
    dim_in: int, dim: int, kernel: int, style: Style, stride: int = 1, groups: int = 1, act: bool = False
) -> nn.Module:
    """Make conv -> norm (, act). (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    norm = style.norm(dim, style.act) if act else style.norm(dim)
    return StyledConv(style.conv(dim_in, dim, kernel, stride, groups), norm, nn.Identity())


conv_act = partial(conv_norm, act=True)


def projection(dim_in: int, dim: int, stride: int, style: Style) -> nn.Module:
    """Make a strided 1x1 conv. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    return conv_norm(dim_in, dim, 1, style, stride)


def mean_projection(dim_in: int, dim: int, stride: int, style: Style) -> nn.Module:
    """Make a mean, which ignores padding, and a 1x1 conv. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
    pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(OrderedDict(pool=pool, conv=conv_norm(dim_in, dim, 1, style)))


class Block(nn.Module):
    """layers in sequence -> + shortcut -> act. (B, C, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, layers: Layers, shortcut: nn.Module | None, drop_path: float, act: nn.Module):
        super().__init__()
        self.branch = tuple(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.shortcut, self.drop_path, self.act = shortcut, DropPath(drop_path), act

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for name in self.branch:
            y = getattr(self, name)(y)
        y = self.drop_path(y)
        if self.shortcut is not None:
            y += self.shortcut(x)
        return self.act(y)


@dataclass(frozen=True)
class Residual(Row):
    """A row of Block."""

    ratio: float = 1.0  # channels inside over output channels
    attention: Callable[[int], nn.Module] = nn.Identity  # in the branch, given its channels
    shortcut: Callable[[int, int, int, Style], nn.Module] | None = projection  # if shapes differ; None: no sum
    act: Act | None = None  # after the sum, in place of the Style's

    def layers(self, dim_in: int, stride: int, style: Style) -> Layers:
        """Make the layers of one branch. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
        raise NotImplementedError

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        shortcut = nn.Identity()
        if stride > 1 or dim_in != self.dim:
            shortcut = self.shortcut and self.shortcut(dim_in, self.dim, stride, style)
        return Block(self.layers(dim_in, stride, style), shortcut, drop_path, (self.act or style.act)())


@dataclass(frozen=True)
class Basic(Residual):
    """3x3 conv -> 3x3 conv -> (attention)."""

    def layers(self, dim_in: int, stride: int, style: Style) -> Layers:
        dim = make_divisible(self.dim * self.ratio)
        return {
            "conv1_kxk": conv_act(dim_in, dim, 3, style, stride),
            "conv2_kxk": conv_norm(dim, self.dim, 3, style),
            "attn_last": self.attention(self.dim),
        }


@dataclass(frozen=True)
class Edge(Residual):
    """3x3 conv -> (attention) -> 1x1 conv."""

    def layers(self, dim_in: int, stride: int, style: Style) -> Layers:
        dim = make_divisible(self.dim * self.ratio)
        return {
            "conv1_kxk": conv_act(dim_in, dim, 3, style, stride),
            "attn": self.attention(dim),
            "conv2_1x1": conv_norm(dim, self.dim, 1, style),
        }


@dataclass(frozen=True)
class Bottle(Residual):
    """1x1 conv -> 3x3 conv -> (attention) -> 1x1 conv; an inverted bottleneck if `ratio` is above 1."""

    ratio: float = 0.25
    group_width: int = 0  # channels in each group of the 3x3 conv; 0: one group
    of_input: bool = False  # `ratio` is over the input channels

    def middle(self, dim: int, stride: int, style: Style) -> Layers:
        """Make what is between the 1x1 convs. (B, dim, H, W) -> (B, dim, H/stride, W/stride)."""
        groups = dim // (self.group_width or dim)
        return {"conv2_kxk": conv_act(dim, dim, 3, style, stride, groups), "attn": self.attention(dim)}

    def layers(self, dim_in: int, stride: int, style: Style) -> Layers:
        dim = make_divisible((dim_in if self.of_input else self.dim) * self.ratio)
        return {
            "conv1_1x1": conv_act(dim_in, dim, 1, style),
            **self.middle(dim, stride, style),
            "conv3_1x1": conv_norm(dim, self.dim, 1, style),
        }


@dataclass(frozen=True)
class Attend(Bottle):
    """1x1 conv -> self-attention or what stands for it, which has the stride -> norm, act -> 1x1 conv."""

    mix: Callable[[int, int, int], nn.Module] = field(kw_only=True)  # given channels, the side of its grid, and stride
    side: int = 0  # of the grid after the row, in a model for one image size

    def middle(self, dim: int, stride: int, style: Style) -> Layers:
        return {"self_attn": self.mix(dim, self.side * stride, stride), "post_attn": style.norm(dim, style.act)}


@dataclass(frozen=True)
class Conv3x3(Row):
    """A stem of one 3x3 conv."""

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        return conv_act(dim_in, self.dim, 3, style, stride)


@dataclass(frozen=True)
class Tiered(Row):
    """A stem of one conv or several: the first has the stride, and so does the last, or a max pool after it."""

    before: tuple[int, ...] = ()  # channels of the convs before the last
    kernel: int = 3  # of each conv
    bare: int = 0  # how many of them have neither norm nor activation
    pool: bool = False  # it is a max pool

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        layers, dims = OrderedDict[str, nn.Module](), (*self.before, self.dim)
        for i, dim in enumerate(dims, 1):
            step = stride if i == 1 or (i == len(dims) and not self.pool) else 1
            make = style.conv if i <= self.bare else partial(conv_act, style=style)
            layers[f"conv{i}"], dim_in = make(dim_in, dim, self.kernel, stride=step), dim
        if self.pool:
            layers["pool"] = nn.MaxPool2d(3, stride, 1)
        return nn.Sequential(layers)


def each(table: Table, **fields: Any) -> Table:
    """Change fields of every row."""
    return tuple(tuple(replace(row, **fields) for row in stage) for stage in table)
