"""From a picture to tokens: patches, and where they stand."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Cut the picture into patches and project each. (B, 3, H, W) -> (B, C, H/patch, W/patch)."""

    def __init__(self, patch: int, dim: int, bias: bool = True):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, dim, patch, patch, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"A picture of {height}x{width} cannot be cut into patches of {self.patch}x{self.patch}: "
                f"choose a height and a width that {self.patch} divides."
            )
        return self.proj(x)


def resize_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int = 0) -> Tensor:
    """Bicubic resize of a learned position table to another grid. (1, prefix + N, C) -> (1, prefix + N', C).

    Antialiased and in float32, as the published models do it; the first `prefix` rows stay as they are.
    """
    if old == new:
        return table
    grid = table[:, prefix:].float().transpose(1, 2).unflatten(2, old)  # (1, C, H, W)
    grid = F.interpolate(grid, new, mode="bicubic", antialias=True)
    return torch.cat([table[:, :prefix], grid.flatten(2).transpose(1, 2).to(table.dtype)], 1)
