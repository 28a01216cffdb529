"""A learned factor a channel on a residual branch (Touvron et al. 2021, CaiT, arXiv:2103.17239)."""

import torch
from torch import Tensor, nn


class LayerScale(nn.Module):
    """(B, ..., C) -> (B, ..., C)."""

    def __init__(self, dim: int, start: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class LayerScale2d(LayerScale):
    """(B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma[:, None, None]


def layer_scale(dim: int, start: float | None) -> nn.Module:
    """LayerScale that starts at `start`, or the identity if that is None."""
    return nn.Identity() if start is None else LayerScale(dim, start)


def gamma(dim: int, start: float | None) -> nn.Parameter | None:
    """The factors alone, for a block that holds them itself; None if there are none. (dim,)."""
    return None if start is None else nn.Parameter(torch.full((dim,), start))


def scaled(x: Tensor, factors: Tensor | None) -> Tensor:
    """Multiply by the factors, if there are any. (B, ..., C) -> (B, ..., C)."""
    return x if factors is None else x * factors
