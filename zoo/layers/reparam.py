"""Re-parameterisation: train a convolution as several branches, and run it as one.

A sum of branches, each a convolution and a batch norm, equals one convolution, but learns better as branches. Here the
branches are separate, as in the published weights. Ding et al. 2021, "RepVGG: Making VGG-style ConvNets Great Again",
arXiv:2101.03697, section 3.3; Vasu et al. 2022, "MobileOne: An Improved One millisecond Mobile Backbone",
arXiv:2206.04040.

A block that folds for inference has a method `folded() -> nn.Module` besides its forward. It is called in eval mode
under no_grad and returns a new module that computes the same. The functions below help to write it.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.conv import ConvNorm
from zoo.layers.drop import DropPath


class BranchSum(nn.Module):
    """The sum of branches, each a convolution, a batch norm, the one after the other, or the identity.

    Kernel sizes may differ, strides may not. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.
    """

    def branches(self) -> Sequence[nn.Module]:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return branch_sum(self.branches(), x)

    def folded(self) -> nn.Module:
        return fold_branches(self.branches())


def branch_sum(branches: Sequence[nn.Module], x: Tensor) -> Tensor:
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    first, *others = branches
    y = first(x)
    for branch in others:
        y += branch(x)
    return y


class RepConv(BranchSum):
    """MobileOne's convolution: `convs` of one size, a 1x1 if `scale`, and x itself if input and output have one shape.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.
    """

    def __init__(
        self, dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, convs: int = 1, scale: bool = True
    ):
        super().__init__()
        self.identity = nn.BatchNorm2d(dim) if dim_in == dim and stride == 1 else None
        self.conv_kxk = nn.ModuleList(ConvNorm(dim_in, dim, kernel, stride, groups) for _ in range(convs))
        self.conv_scale = ConvNorm(dim_in, dim, 1, stride, groups) if scale and kernel > 1 else None

    def branches(self) -> list[nn.Module]:
        return [branch for branch in (self.identity, self.conv_scale, *self.conv_kxk) if branch is not None]


class RepBlock(BranchSum):
    """branches, + batch norm of x if input and output have one shape -> (attention) -> act.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.
    """

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, attention: nn.Module, act: nn.Module):
        super().__init__()
        self.identity = nn.BatchNorm2d(dim) if dim_in == dim and stride == 1 else None
        self.drop_path, self.attn, self.act = DropPath(drop_path), attention, act

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.identity is not None:
            y = self.drop_path(y)
            y += self.identity(x)
        return self.act(self.attn(y))

    def folded(self) -> nn.Module:
        shortcut = [] if self.identity is None else [self.identity]
        return nn.Sequential(fold_branches([*self.branches(), *shortcut]), self.attn, self.act)


def fold_branches(branches: Sequence[nn.Module]) -> nn.Conv2d:
    """Sum branches into one convolution, with the smaller kernels in the middle of the largest."""
    convs = [layer for branch in branches for layer in branch.modules() if isinstance(layer, nn.Conv2d)]
    largest = max(convs, key=lambda conv: conv.kernel_size)
    kernels, biases = zip(*(affine(branch, largest) for branch in branches), strict=True)
    kernel = torch.stack([widen(kernel, largest.kernel_size[0]) for kernel in kernels]).sum(0)
    return with_weights(largest, kernel, torch.stack(biases).sum(0))


def affine(branch: nn.Module, like: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Kernel (dim, dim_in / groups, k, k) and bias (dim,) of a branch, given a convolution of its dim and groups."""
    dim = like.out_channels
    kernel, bias = identity(dim, like.groups, 1, like.weight), like.weight.new_zeros(dim)
    for layer in branch.modules():
        if isinstance(layer, nn.Conv2d):
            kernel, bias = layer.weight, bias if layer.bias is None else layer.bias
        elif isinstance(layer, nn.BatchNorm2d):
            kernel, bias = fold_norm(kernel, bias, layer)
    return kernel, bias


def fold_norm(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight (dim, ...) and bias (dim,) of a layer that equals the given one and the batch norm after it."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale, mean = (norm.running_var + norm.eps).rsqrt(), norm.running_mean
    scale = scale if norm.weight is None else scale * norm.weight
    mean = mean if bias is None else mean - bias
    shift = -mean * scale if norm.bias is None else norm.bias - mean * scale
    return weight * scale.view(-1, *[1] * (weight.ndim - 1)), shift


def widen(kernel: Tensor, side: int) -> Tensor:
    """Pad a kernel with zeros to another side. (..., k, k) -> (..., side, side)."""
    margin = (side - kernel.shape[-1]) // 2
    return F.pad(kernel, (margin, margin, margin, margin))


def identity(dim: int, groups: int, side: int, like: Tensor) -> Tensor:
    """The kernel that changes nothing. (dim, dim / groups, side, side)."""
    kernel = like.new_zeros(dim, dim // groups, side, side)
    channel = torch.arange(dim)
    kernel[channel, channel % (dim // groups), side // 2, side // 2] = 1
    return kernel


def with_weights(conv: nn.Conv2d, kernel: Tensor, bias: Tensor) -> nn.Conv2d:
    """Copy a convolution with another kernel and bias."""
    made = deepcopy(conv)
    made.weight, made.bias = (nn.Parameter(t.detach(), conv.weight.requires_grad) for t in (kernel, bias))
    return made


def linear(weight: Tensor, bias: Tensor, trained: bool) -> nn.Linear:
    """Make a linear layer of these weights. (..., dim_in) -> (..., dim)."""
    made = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    made.weight, made.bias = (nn.Parameter(t.detach(), trained) for t in (weight, bias))
    return made
