"""Activations that PyTorch does not have."""

import torch
from torch import Tensor, nn


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), the quick approximation of GELU of OpenAI's CLIP. (..., C) -> (..., C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)
