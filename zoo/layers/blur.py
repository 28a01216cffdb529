"""Blur before dropping pixels, so that a shifted picture gives shifted features (Zhang 2019, arXiv:1904.11486)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlurPool(nn.Module):
    """Every second pixel of x smoothed by (1 2 1)/4 along both axes. (B, C, H, W) -> (B, C, H/2, W/2), rounded up."""

    kernel: Tensor

    def __init__(self):
        super().__init__()
        # The kernel is in no checkpoint, so it must be real even where the model is built on the meta device.
        line = torch.tensor([0.25, 0.5, 0.25], device="cpu")
        self.register_buffer("kernel", (line[:, None] * line)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        if min(height, width) < 2:
            raise ValueError(
                f"The blur mirrors the border and needs a grid of 2x2, but only {height}x{width} is left here: "
                "show the model a larger picture."
            )
        kernel = self.kernel.to(x).expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=channels)
