"""Activations that PyTorch does not have."""

import torch
from torch import Tensor, nn


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), the quick approximation of GELU of OpenAI's CLIP. (..., C) -> (..., C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class SquaredReLU(nn.Module):
    """relu(x)^2 (So et al. 2021, arXiv:2109.08668). (..., C) -> (..., C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


class StarReLU(nn.Module):
    """scale * relu(x)^2 + bias, one learned number each (Yu et al. 2022, arXiv:2210.13452). (..., C) -> (..., C)."""

    def __init__(self):
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, self.scale, x.relu().square())
