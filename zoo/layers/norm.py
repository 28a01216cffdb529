"""Normalisation over the channels. Layer norms go through zoo.probe, so that explanations may hold their deviation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo import probe


class LayerNorm(nn.LayerNorm):
    """LayerNorm over C, the last axis (Ba et al. 2016, arXiv:1607.06450). (B, ..., C) -> (B, ..., C)."""

    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__(dim, eps=eps)

    def forward(self, input: Tensor) -> Tensor:
        return probe.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class LayerNorm2d(LayerNorm):
    """LayerNorm over C at every pixel. (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class RmsNorm(nn.Module):
    """Divide by the root mean square over C, the last axis (Zhang and Sennrich 2019, arXiv:1910.07467).

    (B, ..., C) -> (B, ..., C).
    """

    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * probe.held(torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)) * self.weight


class RmsNorm2d(nn.Module):
    """Divide by the root mean square over C; no centring, no bias. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * probe.held(torch.rsqrt(x.pow(2).mean(1, keepdim=True) + self.eps)) * self.weight[:, None, None]


class SimpleNorm2d(RmsNorm2d):
    """Like RmsNorm2d, with the standard deviation in place of the root mean square."""

    def forward(self, x: Tensor) -> Tensor:
        return x * probe.held(torch.rsqrt(x.var(1, keepdim=True) + self.eps)) * self.weight[:, None, None]


class BatchNormAct2d(nn.BatchNorm2d):
    """BatchNorm, then the activation. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, act: Callable[[], nn.Module]):
        super().__init__(dim)
        self.act = act()

    def forward(self, input: Tensor) -> Tensor:
        return self.act(super().forward(input))
