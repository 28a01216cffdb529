"""Halo attention: the cells of a block read the block and a rim around it.

Vaswani et al. 2021, "Scaling Local Self-Attention for Parameter Efficient Visual Backbones", arXiv:2103.12731. What
lies beyond the image is zeros, which take part in the softmax; a grid that blocks do not divide is padded like that.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.kept import kept
from zoo.layers.relative_scores import RelativeScores
from zoo.layers.width import make_divisible
from zoo.probe import Geometry, Grid, attention


class HaloAttention(nn.Module):
    """(B, dim, H, W) -> (B, dim, H/stride, W/stride), rounded up.

    With stride 2, only every second cell of a row and a column asks; if the block has an odd side, all ask and the
    result is averaged. `qk_ratio`: channels of queries and keys, as a share of `dim`;
    `head_dim` gives them for a head instead.
    """

    def __init__(
        self,
        dim: int,
        stride: int = 1,
        num_heads: int = 8,
        head_dim: int | None = None,
        block: int = 8,
        halo: int = 3,
        qk_ratio: float = 1.0,
    ):
        super().__init__()
        self.num_heads, self.block, self.halo = num_heads, block, halo
        self.head_dim = head_dim or make_divisible(dim * qk_ratio) // num_heads
        self.step = stride if block % stride == 0 else 1  # from one cell that asks to the next
        inner = num_heads * self.head_dim
        self.q = nn.Conv2d(dim, inner, 1, self.step, bias=False)
        self.kv = nn.Conv2d(dim, inner + dim, 1, bias=False)
        self.pos_embed = RelativeScores(block // self.step, block + 2 * halo, self.head_dim)
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride > self.step else nn.Identity()
        for layer in (self.q, self.kv):
            nn.init.trunc_normal_(layer.weight, std=dim**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        plan = halos(x.shape[2], x.shape[3], self.block, self.halo, self.step, x.device)
        q = self.heads(self.q(x), plan.queries)  # (B * n, h, Q, d)
        k, v = self.heads(self.kv(x), plan.keys).tensor_split((self.head_dim,), 3)
        y = attention(q, k, v, layer=self, geometry=plan.geometry, bias=self.pos_embed(q))
        y = y.transpose(1, 2).flatten(2).view(len(x), -1, x.shape[1]).index_select(1, plan.slot)
        return self.pool(y.transpose(1, 2).unflatten(2, plan.asking.shape))

    def heads(self, x: Tensor, index: Tensor) -> Tensor:
        """Fill the slots of all windows, with zeros where the index is -1. (B, h * d, H, W) -> (B * n, h, slots, d)."""
        x = F.pad(x.flatten(2), (0, 1)).transpose(1, 2)[:, index]  # -1 is the column of zeros
        return x.unflatten(3, (self.num_heads, -1)).transpose(2, 3).flatten(0, 1)


class Halos(NamedTuple):
    """How a grid is cut into n blocks with rims. -1 is padding."""

    queries: Tensor  # (n, Q): which cell of the grid of queries asks in each slot
    keys: Tensor  # (n, K): which cell each slot shows
    slot: Tensor  # (Nq,): the slot of each query, of all n * Q
    asking: Grid
    shown: Grid

    def geometry(self) -> Geometry:
        return Geometry(self.queries, self.keys, self.asking, self.shown)


@kept(32)
def halos(height: int, width: int, block: int, halo: int, step: int, device: torch.device) -> Halos:
    """Cut a grid of height x width cells, of which every `step`-th asks, along both axes."""
    asking, shown = Grid(0, -(-height // step), -(-width // step)), Grid(0, height, width)
    down, across = (-(-n // block) for n in (height, width))  # blocks
    queries = slots(asking, down, across, block // step, block // step, 0, device)
    keys = slots(shown, down, across, block, block + 2 * halo, -halo, device)
    return Halos(queries, keys, queries.flatten().argsort()[-asking.tokens :], asking, shown)


def slots(grid: Grid, down: int, across: int, step: int, side: int, start: int, device: torch.device) -> Tensor:
    """The cells of windows of side x side, every `step` cells from `start` on. (down * across, side * side)."""
    rows, columns = (
        torch.arange(n, device=device)[:, None] * step + torch.arange(side, device=device) + start
        for n in (down, across)
    )
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    inside = (rows >= 0) & (rows < grid.height) & (columns >= 0) & (columns < grid.width)
    return torch.where(inside, rows * grid.width + columns, -1).flatten(2).flatten(0, 1)
