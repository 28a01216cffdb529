"""Pooling layers that halve a grid in place of a strided convolution."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlurPool(nn.Module):
    """Smooth by (1 2 1)/4 along both axes and keep every second pixel (Zhang 2019, arXiv:1904.11486).

    (B, C, H, W) -> (B, C, H/2, W/2), rounded up. Beyond the border is the image's mirror, or zeros.
    """

    kernel: Tensor

    def __init__(self, border: Literal["reflect", "constant"] = "reflect"):
        super().__init__()
        self.border = border
        # The kernel is in no checkpoint, so it must be real even if the model is built on the meta device.
        line = torch.tensor([0.25, 0.5, 0.25], device="cpu")
        self.register_buffer("kernel", (line[:, None] * line)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        if self.border == "reflect" and min(height, width) < 2:
            raise ValueError(f"The blur needs a grid of 2x2 or more, not {height}x{width}: give it a larger image.")
        kernel = self.kernel.to(x).expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode=self.border), kernel, stride=2, groups=channels)


def check_divisible(x: Tensor, by: int, sides: int = 32) -> None:
    """Raise a ValueError if a side of the grid of x (B, C, H, W) is no multiple of `by`: image sides are of `sides`."""
    height, width = x.shape[2:]
    if height % by or width % by:
        raise ValueError(
            f"A {height}x{width} grid cannot be divided by {by}: use image sides that are multiples of {sides}."
        )


class HalveByMean(nn.AvgPool2d):
    """(B, C, H, W) -> (B, C, H/2, W/2); an odd H or W is an error, because the parallel shortcut rounds up."""

    def __init__(self):
        super().__init__(2)

    def forward(self, input: Tensor) -> Tensor:
        check_divisible(input, 2)
        return super().forward(input)
