"""Normalisation. Norms with statistics of each image go through zoo.probe, so that explanations can hold them fixed."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import probe

Act = Callable[[], nn.Module]  # makes an activation


class LayerNorm(nn.LayerNorm):
    """LayerNorm over C, the last axis (Ba et al. 2016, arXiv:1607.06450). (B, ..., C) -> (B, ..., C).

    Without `bias`, it has no shift.
    """

    def __init__(self, dim: int, eps: float = 1e-6, bias: bool = True):
        super().__init__(dim, eps=eps, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return probe.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class PlainLayerNorm(LayerNorm):
    """The same without scale and shift. (B, ..., C) -> (B, ..., C)."""

    def __init__(self, dim: int):
        nn.LayerNorm.__init__(self, dim, eps=1e-6, elementwise_affine=False)


class LayerNorm2d(LayerNorm):
    """LayerNorm over C at every pixel. (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class RmsNorm(nn.Module):
    """Divide by the root mean square over C (Zhang and Sennrich 2019, arXiv:1910.07467). (B, ..., C) -> (B, ..., C)."""

    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * probe.held(torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)) * self.weight


class PlainRmsNorm(nn.Module):
    """The same without a weight. (B, ..., C) -> (B, ..., C)."""

    def __init__(self, eps: float = 1e-6):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * probe.held(torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class RmsNorm2d(RmsNorm):
    """RmsNorm over C at every pixel; no centring, no bias. (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * probe.held(torch.rsqrt(x.pow(2).mean(1, keepdim=True) + self.eps)) * self.weight[:, None, None]


class RmsNormAct2d(RmsNorm2d):
    """RmsNorm2d, then the activation. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, act: Act = nn.Identity):
        super().__init__(dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class SimpleNorm2d(RmsNorm2d):
    """RmsNorm2d with the standard deviation in place of the root mean square. (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * probe.held(torch.rsqrt(x.var(1, keepdim=True) + self.eps)) * self.weight[:, None, None]


class GroupNorm(nn.Module):
    """Norm over the grid and a group of channels (Wu and He 2018, arXiv:1803.08494). (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, groups: int = 32, eps: float = 1e-5, bias: bool = True):
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if probe.held(x) is x:  # not inside frozen_norm: the fast way
            return F.group_norm(x, self.groups, self.weight, self.bias, self.eps)
        x = x.unflatten(1, (self.groups, -1))
        deviation = probe.held((x.var((2, 3, 4), unbiased=False, keepdim=True) + self.eps).sqrt())
        x = ((x - x.mean((2, 3, 4), keepdim=True)) / deviation).flatten(1, 2) * self.weight[:, None, None]
        return x if self.bias is None else x + self.bias[:, None, None]


class LayerNormAct2d(LayerNorm2d):
    """LayerNorm2d, then the activation. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, act: Act = nn.Identity, eps: float = 1e-5):
        super().__init__(dim, eps)
        self.act = act()

    def forward(self, input: Tensor) -> Tensor:
        return self.act(super().forward(input))


class GroupNormAct2d(GroupNorm):
    """GroupNorm of groups of `width` channels, then the activation. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, act: Act = nn.Identity, width: int = 8):
        super().__init__(dim, dim // width)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class EvoNorm2d(nn.Module):
    """x * sigmoid(v x) over each group's deviation: norm and activation in one (Liu et al. 2020, arXiv:2004.02967).

    (B, C, H, W) -> (B, C, H, W). Its form S0, with statistics of each image in groups of `width` channels. `act` only
    says whether an activation follows: without one, only scale and shift are left, and the division if `always` (S0a).
    """

    def __init__(self, dim: int, act: Act | None = None, width: int = 8, eps: float = 1e-5, always: bool = False):
        super().__init__()
        self.width, self.eps, self.measures = width, eps, always or act is not None
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.v = nn.Parameter(torch.ones(dim)) if act else None
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.v is None else x * self.gate(x * self.v[:, None, None])
        if self.measures:
            variance = x.unflatten(1, (-1, self.width)).var((2, 3, 4), unbiased=False)
            deviation = probe.held((variance + self.eps).sqrt()).repeat_interleave(self.width, 1)  # (B, C)
            y = y / deviation[..., None, None]
        return y * self.weight[:, None, None] + self.bias[:, None, None]


def evo_norm(dim: int, act: Act | None = None) -> EvoNorm2d:
    """Make EvoNorm of 32 groups."""
    return EvoNorm2d(dim, act, dim // 32)


class FilterResponseNorm2d(nn.Module):
    """Divide each channel by its root mean square over the grid; the activation is a learned floor.

    (B, C, H, W) -> (B, C, H, W). Singh and Krishnan 2019, arXiv:1911.09737: y = max(weight x / rms + bias, tau).
    """

    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.tau = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x * probe.held(torch.rsqrt(x.square().mean((2, 3), keepdim=True) + self.eps))
        return torch.maximum(x * self.weight[:, None, None] + self.bias[:, None, None], self.tau[:, None, None])


class BatchNormAct2d(nn.BatchNorm2d):
    """BatchNorm, then the activation. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, act: Act = nn.Identity, eps: float = 1e-5):
        super().__init__(dim, eps)
        self.act = act()

    def forward(self, input: Tensor) -> Tensor:
        return self.act(super().forward(input))
