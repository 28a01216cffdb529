"""Rotary position embedding on a grid: a token's position rotates its queries and keys.

The channels of a head are taken in pairs, points of a plane, and each pair is rotated by an angle that grows with the
position. The product of a query and a key then depends only on the offset between them (Su et al. 2021, RoFormer,
arXiv:2104.09864). In images the row rotates one half of the pairs and the column the other (axial), or both rotate
every pair, at speeds that each head learns (mixed): Heo et al. 2024, arXiv:2403.13298. Tokens without a position, such
as the class token, are not rotated.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.kept import kept
from zoo.probe import Grid


class NeighbourTurns(NamedTuple):
    """Channels 0 and 1 are a pair, 2 and 3 the next. `unit` is cos + i sin: complex (N, 1 or h, d / 2)."""

    unit: Tensor

    def turn(self, x: Tensor) -> Tensor:
        """(B, N, h, d) -> (B, N, h, d)."""
        wide = x.to(self.unit.dtype.to_real())
        turned = torch.view_as_complex(wide.unflatten(-1, (-1, 2))) * self.unit
        return torch.view_as_real(turned).flatten(-2).to(x.dtype)


class HalfTurns(NamedTuple):
    """Channel j and channel j + d / 2 are a pair. `cos` (N, 1, d), the same angles twice; `sin` (N, 1, d / 2)."""

    cos: Tensor
    sin: Tensor

    def turn(self, x: Tensor) -> Tensor:
        """(B, N, h, d) -> (B, N, h, d)."""
        wide, half = x.to(self.cos.dtype), x.shape[-1] // 2
        first, second = wide.split(half, -1)
        turned = wide * self.cos
        turned[..., :half].addcmul_(second, self.sin, value=-1)
        turned[..., half:].addcmul_(first, self.sin)
        return turned.to(x.dtype)


class QuarterTurns(NamedTuple):
    """Channel j and j + d / 4 are a pair in either half of a head. `cos` (N, 1, 2, d / 2), `sin` (N, 1, 2, d / 4)."""

    cos: Tensor
    sin: Tensor

    def turn(self, x: Tensor) -> Tensor:
        """(B, N, h, d) -> (B, N, h, d)."""
        return HalfTurns(*self).turn(x.unflatten(-1, (2, -1))).flatten(-2)


Turns = NeighbourTurns | HalfTurns | QuarterTurns


@dataclass(frozen=True)
class AxialRotary:
    """EVA-02's: rows rotate one half of the pairs, columns the other (Fang et al. 2023, arXiv:2303.11331)."""

    temperature: float = 10_000.0  # pair k of n turns temperature^(k / n) times slower than pair 0
    reference: int | None = None  # any grid is stretched over this many rows and columns, those of pretraining
    start: float = 0.0  # number of the first row and of the first column
    columns_first: bool = False  # columns rotate the first half of the pairs

    def angles(self, grid: Grid, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The angle of each pair of either half of a head. (N, 2, dim / 4)."""
        y, x = (torch.arange(n, dtype=torch.float32, device="cpu") + self.start for n in grid.shape)
        if self.reference is not None:
            y, x = y / grid.height * self.reference, x / grid.width * self.reference
        positions = torch.cartesian_prod(y, x).to(dtype)  # row and column of every patch: (H * W, 2)
        speeds = (1 / _periods(self.temperature, dim // 4)).to(dtype)
        return _skip_prefix((positions.flip(1) if self.columns_first else positions)[:, :, None] * speeds, grid)

    def turns(self, grid: Grid, dim: int, dtype: torch.dtype) -> Turns:
        return _neighbour_turns(self.angles(grid, dim).flatten(1)[:, None], dtype)


class HalvesRotary(AxialRotary):
    """The same angles for channels half a head apart: Qwen3-VL's (Qwen team 2025, arXiv:2511.21631)."""

    def turns(self, grid: Grid, dim: int, dtype: torch.dtype) -> HalfTurns:
        angles = self.angles(grid, dim, dtype).flatten(1)[:, None]
        cos, sin = (table.float().to(dtype) for table in (angles.cos(), angles.sin()))
        return HalfTurns(torch.cat([cos, cos], -1), sin)


class QuartersRotary(AxialRotary):
    """The same angles for channels a quarter of a head apart: Gemma 4's (Gemma team 2026, arXiv:2607.02770)."""

    def turns(self, grid: Grid, dim: int, dtype: torch.dtype) -> QuarterTurns:
        angles = self.angles(grid, dim)[:, None]
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        return QuarterTurns(torch.cat([cos, cos], -1), sin)


@dataclass(frozen=True)
class CentredRotary:
    """DINOv3's: positions run from -1 to 1 over any grid (Siméoni et al. 2025, arXiv:2508.10104)."""

    def turns(self, grid: Grid, dim: int, dtype: torch.dtype) -> HalfTurns:
        y, x = (2 * (torch.arange(0.5, n, dtype=torch.float32, device="cpu") / n) - 1 for n in grid.shape)
        positions, periods = torch.cartesian_prod(y, x).to(dtype), _periods(100.0, dim // 4).to(dtype)
        angles = _skip_prefix((2 * math.pi * positions[:, :, None] / periods).flatten(1), grid)[:, None]
        return HalfTurns(angles.cos().repeat(1, 1, 2), angles.sin())


class MixedRotary(nn.Module):
    """RoPE-ViT's: each head of each block learns how fast rows and columns rotate its pairs (arXiv:2403.13298).

    Grid of N tokens -> the rotation of every block, for queries and keys (B, N, h, d).
    """

    def __init__(self, depth: int, num_heads: int, head_dim: int):
        super().__init__()
        speeds = 1 / _periods(10.0, head_dim // 4)
        first = 2 * math.pi * torch.rand(depth, num_heads, 1, 1)  # each head starts with a random direction
        direction = torch.cat([first, first + math.pi / 2], 2)
        freqs = torch.stack([direction.cos(), direction.sin()]) * speeds.to(first.device)
        self.freqs = nn.Parameter(freqs.flatten(3))  # columns, rows: (2, depth, h, d / 2)

    def forward(self, grid: Grid, dtype: torch.dtype) -> list[Turns]:
        """Make the rotations of each block."""
        y, x = (torch.arange(n, dtype=torch.float32, device=self.freqs.device) for n in grid.shape)
        y, x = torch.cartesian_prod(y, x)[:, :, None, None].unbind(1)
        per_column, per_row = self.freqs.float()[:, :, None]  # (depth, 1, h, d / 2)
        return [_neighbour_turns(_skip_prefix(angles, grid), dtype) for angles in x * per_column + y * per_row]


@kept(16)
def rotary_turns(
    rotary: AxialRotary | CentredRotary, grid: Grid, dim: int, dtype: torch.dtype, device: torch.device
) -> Turns:
    """Make the rotations for heads (B, N, h, dim), once a grid; `dtype` is float32 or float64."""
    turns = rotary.turns(grid, dim, dtype)
    return type(turns)(*(table.to(device) for table in turns))


def _periods(temperature: float, count: int) -> Tensor:
    """From 1 to almost `temperature`, in equal ratios. (count,)."""
    return temperature ** (torch.arange(count, dtype=torch.float32, device="cpu") / count)


def _skip_prefix(angles: Tensor, grid: Grid) -> Tensor:
    """Prepend a zero angle for each prefix token. (H * W, ...) -> (N, ...)."""
    return F.pad(angles, (0, 0) * (angles.ndim - 1) + (grid.prefix, 0))


def _neighbour_turns(angles: Tensor, dtype: torch.dtype) -> NeighbourTurns:
    return NeighbourTurns(torch.complex(angles.cos().to(dtype), angles.sin().to(dtype)))
