"""Pooling: what halves a grid in place of a strided convolution."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlurPool(nn.Module):
    """Every second pixel of x smoothed by (1 2 1)/4 along both axes (Zhang 2019, arXiv:1904.11486).

    (B, C, H, W) -> (B, C, H/2, W/2), rounded up. Around the image is its mirror, or zeros.
    """

    kernel: Tensor

    def __init__(self, border: Literal["reflect", "constant"] = "reflect"):
        super().__init__()
        self.border = border
        # The kernel is in no checkpoint, so it must be real even where the model is built on the meta device.
        line = torch.tensor([0.25, 0.5, 0.25], device="cpu")
        self.register_buffer("kernel", (line[:, None] * line)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        if self.border == "reflect" and min(height, width) < 2:
            raise ValueError(
                f"The blur mirrors the border and needs a grid of 2x2, but only {height}x{width} is left here: "
                "show the model a larger image."
            )
        kernel = self.kernel.to(x).expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode=self.border), kernel, stride=2, groups=channels)


class HalveByMean(nn.AvgPool2d):
    """(B, C, H, W) -> (B, C, H/2, W/2); an odd H or W is an error, because the shortcut beside it rounds up."""

    def __init__(self):
        super().__init__(2)

    def forward(self, input: Tensor) -> Tensor:
        height, width = input.shape[2:]
        if height % 2 or width % 2:
            raise ValueError(
                f"This model halves its grid by 2x2 means, and {height}x{width} has no exact half: "
                "give it an image whose sides are multiples of 32."
            )
        return super().forward(input)
