"""Windows: a grid of tokens cut into small groups, inside which tokens attend to each other.

    windows        rectangles, perhaps shifted; where the grid is no longer than one, it shrinks to the grid
    tiles          rectangles of one size
    grid_windows   tokens that lie evenly over the whole grid, one from each tile

A grid may have any size. If windows do not divide it, it is padded at the bottom and the right.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.layers.kept import kept
from zoo.probe import Geometry, Grid

Size = tuple[int, int]  # tokens down and across
MASKED = -100.0  # added to the score of two tokens that are neighbours only because the grid was rolled


@dataclass(frozen=True)
class Windows:
    """How a grid (H, W) is cut into n windows of h x w slots.

    `cut` and `merge` take tokens; `geometry` tells a probe what they did.
    """

    grid: Grid
    size: Size  # h, w
    index: Tensor  # (n, h * w): the token in each slot, row by row; -1 is padding
    source: Tensor  # (n * h * w,): the same for a gather; padding is H * W
    slot: Tensor  # (H * W,): the slot of each token
    mask: Tensor | None  # (n, 1, h * w, h * w), added to the scores; None if nothing is shifted

    def cut(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B * n, h * w, C), with zeros in padding slots."""
        x = x.flatten(1, 2)
        if self.source.numel() > self.grid.tokens:
            x = F.pad(x, (0, 0, 0, 1))
        return x.index_select(1, self.source).view(-1, self.index.shape[1], x.shape[2])

    def merge(self, x: Tensor) -> Tensor:
        """(B * n, h * w, C) -> (B, H, W, C)."""
        x = x.reshape(-1, self.source.numel(), x.shape[2]).index_select(1, self.slot)
        return x.unflatten(1, self.grid.shape)

    def masked(self, bias: Tensor, batch: int) -> Tensor:
        """What is added to the scores: a bias (heads, h * w, h * w) and the mask. -> (1 or batch * n, heads, ...)."""
        return bias[None] if self.mask is None else (bias + self.mask.to(bias.dtype)).repeat(batch, 1, 1, 1)

    def geometry(self) -> Geometry:
        return Geometry(self.index, self.index, self.grid, self.grid)


@kept(32)
def windows(height: int, width: int, size: Size, shifted: bool, device: torch.device) -> Windows:
    """Cut a grid of height x width tokens into windows of a size; `shifted` by half a window, cyclically."""
    h, w = min(height, size[0]), min(width, size[1])
    down, right = h // 2 * (shifted and height > h), w // 2 * (shifted and width > w)
    token = torch.arange(height * width, device=device).view(height, width).roll((-down, -right), (0, 1))
    token = F.pad(token, (0, -width % w, 0, -height % h), value=-1)
    mask = None
    if down or right:  # regions count from the padded edge, as in the reference: padding lets some rolled ends meet
        rows, cols = (torch.arange(n, device=device) for n in token.shape)
        region = _cut(2 * (rows >= len(rows) - down)[:, None] + 1 * (cols >= len(cols) - right), h, w)
        mask = MASKED * (region[:, None, :, None] != region[:, None, None, :]).float()
    return _plan(_cut(token, h, w), height, width, (h, w), mask)


@kept(32)
def tiles(height: int, width: int, size: Size, device: torch.device) -> Windows:
    """Cut a grid of height x width tokens into windows of a size, also where it is shorter than one."""
    return _plan(_cut(_padded(height, width, size, device), *size), height, width, size)


@kept(32)
def grid_windows(height: int, width: int, size: Size, device: torch.device) -> Windows:
    """Share a grid among windows of a size, each token of one as far from the next as the grid allows.

    Tu et al. 2022, MaxViT, arXiv:2204.01697, section 3.1.
    """
    token = _padded(height, width, size, device)
    rows, columns = (n // side for n, side in zip(token.shape, size, strict=True))
    return _plan(_cut(token, rows, columns).T, height, width, size)


def _padded(height: int, width: int, size: Size, device: torch.device) -> Tensor:
    """The numbers of the tokens of a grid, with -1 where it is padded. (H, W), multiples of a window's size."""
    token = torch.arange(height * width, device=device).view(height, width)
    return F.pad(token, (0, -width % size[1], 0, -height % size[0]), value=-1)


def _plan(index: Tensor, height: int, width: int, size: Size, mask: Tensor | None = None) -> Windows:
    flat = index.flatten()
    filled = (flat >= 0).nonzero()[:, 0]
    source, slot = torch.where(flat < 0, height * width, flat), filled[flat[filled].argsort()]
    return Windows(Grid(0, height, width), size, index, source, slot, mask)


def _cut(x: Tensor, h: int, w: int) -> Tensor:
    """(H, W) -> (H/h * W/w, h * w)."""
    return x.unflatten(1, (-1, w)).unflatten(0, (-1, h)).transpose(1, 2).flatten(2).flatten(0, 1)
