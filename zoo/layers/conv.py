"""Convolutions that families share: padded so that only strides change the grid, and followed by a batch norm."""

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.norm import Act, BatchNormAct2d


def conv(dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """Make a convolution; a norm follows, so it needs no bias. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride).

    The grid is rounded up if the kernel is odd, down if it is even; patches (kernel and stride alike) are not padded.
    """
    padding = kernel // 2 if kernel % 2 else (kernel - stride) // 2
    return nn.Conv2d(dim_in, dim, kernel, stride, padding, groups=groups, bias=bias)


def conv_relu(dim_in: int, dim: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Sequential:
    """Make conv -> batch norm -> ReLU. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
    return nn.Sequential(conv(dim_in, dim, kernel, stride, bias=bias), nn.BatchNorm2d(dim), nn.ReLU(inplace=True))


def halvings(
    make: Callable[[int, int, int, int], nn.Module], dim: int, steps: int, act: Act, name: str = "act"
) -> nn.Sequential:
    """Make 3x3 convs of stride 2, each with twice the channels of the one before, and activations between them.

    (B, 3, H, W) -> (B, dim, H/2**steps, W/2**steps), rounded up. `make` takes dim_in, dim, kernel and stride.
    """
    layers, dims = nn.Sequential(), (3, *(dim >> i for i in reversed(range(steps))))
    for i in range(1, steps + 1):
        layers.add_module(f"conv{i}", make(dims[i - 1], dims[i], 3, 2))
        if i < steps:
            layers.add_module(f"{name}{i}", act())
    return layers


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Pad until the last window of a convolution is complete; if the number is odd, more goes below and right.

    (B, C, H, W) -> (B, C, H + lacks, W + lacks).
    """
    pads = []
    for axis in (1, 0):  # left and right, then above and below
        side = x.shape[axis + 2]
        lacks = max((-(-side // stride[axis]) - 1) * stride[axis] + kernel[axis] - side, 0)
        pads += [lacks // 2, lacks - lacks // 2]
    return F.pad(x, pads)


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "same" is. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.

    How much depends on the image's size, so the windows of a strided convolution are placed unlike those of `conv`.
    """

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(pad_same(input, self.kernel_size, self.stride))


def same_conv(dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """Make a convolution padded as in TensorFlow; with stride 1 and an odd kernel that is the same as `conv`."""
    if stride == 1 and kernel % 2:
        return conv(dim_in, dim, kernel, groups=groups, bias=bias)
    return SameConv2d(dim_in, dim, kernel, stride, groups=groups, bias=bias)


class MixedConv(nn.ModuleList):
    """Divide the channels among convolutions of several kernels (Tan and Le 2019, arXiv:1907.09595).

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride). The first takes the remainder; `make` is `conv` or `same_conv`.
    """

    def __init__(
        self,
        make: Callable[..., nn.Module],
        dim_in: int,
        dim: int,
        kernels: tuple[int, ...],
        stride: int = 1,
        depthwise: bool = False,
    ):
        dims_in, dims = shares(dim_in, len(kernels)), shares(dim, len(kernels))
        parts = zip(dims_in, dims, kernels, strict=True)
        super().__init__(make(i, o, kernel, stride, i if depthwise else 1) for i, o, kernel in parts)
        self.dims_in = dims_in

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(y) for part, y in zip(self, x.split(self.dims_in, 1), strict=True)], 1)


def shares(dim: int, parts: int) -> list[int]:
    """Divide channels evenly; the first part takes the remainder."""
    return [dim - (parts - 1) * (dim // parts)] + (parts - 1) * [dim // parts]


class ConvNorm(nn.Module):
    """conv -> batch norm -> (act). (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(
        self, dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, act: Act | None = None,
        bias: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.conv = conv(dim_in, dim, kernel, stride, groups, bias)
        self.bn = BatchNormAct2d(dim, act) if act else nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


def conv_norm(dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Make the same without an activation, as some checkpoints name it. (B, dim_in, H, W) -> (B, dim, H/s, W/s)."""
    return nn.Sequential(OrderedDict(c=conv(dim_in, dim, kernel, stride, groups), bn=nn.BatchNorm2d(dim)))


def silent(made: nn.Module) -> nn.Module:
    """Let the batch norm `bn` of a layer begin by multiplying with 0."""
    nn.init.zeros_(made.get_parameter("bn.weight"))
    return made
