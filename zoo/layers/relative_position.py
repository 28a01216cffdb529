"""Relative position bias: what the offset between query and key adds to their score.

Each head learns a table with a row for every offset between two tokens of a square grid (Liu et al. 2021, Swin,
arXiv:2103.14030). A class token has no position: three more rows, at the table's end, are for what it reads, for what
reads it, and for itself (Bao et al. 2021, BEiT, arXiv:2106.08254).
"""

import math
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.layers.kept import kept

GROWTH = 1.01, 1.5  # of the step from one offset of a resized table to the next: least and most
HALVINGS = 19  # of that span in search of the growth, as in the reference: one more would move every offset


@kept(8)
def offsets(height: int, width: int, device: torch.device, class_token: bool = False) -> Tensor:
    """The row of the table for each query and key of a grid. (N, N), tokens by rows, the class token first."""
    y = torch.arange(height, device=device).repeat_interleave(width)
    x = torch.arange(width, device=device).repeat(height)
    index = (y[:, None] - y + height - 1) * (2 * width - 1) + x[:, None] - x + width - 1
    if class_token:
        rows = (2 * height - 1) * (2 * width - 1)
        index = F.pad(index, (1, 0, 1, 0))
        index[0], index[:, 0], index[0, 0] = rows, rows + 1, rows + 2
    return index


def relative_bias(table: Tensor, side: int, size: tuple[int, int], offset: Tensor) -> Tensor:
    """Read the bias of every query and key from the table of a grid side x side, resized to a grid of `size`.

    (rows, heads) -> (heads, N, N), where `offset` (N, N) is what `offsets` gives for `size`.
    """
    if size != (side, side):
        table = resize_table(table, side, size)
    return by_pair(table, offset)


def by_pair(table: Tensor, offset: Tensor) -> Tensor:
    """Read the row of every query and key, whose numbers `offsets` gives. (rows, heads) -> (heads, N, N)."""
    # Several times as fast as table[offset] with the heads moved to the front.
    return table.t().contiguous().index_select(1, offset.flatten()).unflatten(1, offset.shape)


def resize_table(table: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Make the table of a grid of `size` from that of a grid side x side. (rows, heads) -> (other rows, heads).

    The known offsets are spread over the new ones in steps that grow geometrically with distance, and values between
    them are interpolated: BEiT's rule. A class token's rows stay as they are.
    """
    rows = 2 * side - 1
    grid, rest = table[: rows * rows].unflatten(0, (rows, rows)), table[rows * rows :]
    for n in size:  # rows, then, transposed, columns
        before, after, share = _between(side, n, table.dtype, table.device)
        grid = torch.lerp(grid[before], grid[after], share).transpose(0, 1)
    return torch.cat([grid.flatten(0, 1), rest])


@kept(32)
def distances(height: int, width: int, device: torch.device, stride: int = 1) -> Tensor:
    """How many rows and columns each key is away from each query: rows * width + columns. (Q, N).

    Only every `stride`-th row and column of the grid has queries. LeViT's tables (Graham et al. 2021, arXiv:2104.01136)
    have a bias for every such distance, whatever its direction.
    """
    rows, columns = (torch.arange(n, device=device) for n in (height, width))
    down, across = ((n[::stride, None] - n).abs() for n in (rows, columns))
    return (down[:, None, :, None] * width + across[:, None]).flatten(2).flatten(0, 1)


def distance_bias(table: Tensor, distance: Tensor) -> Tensor:
    """Read the bias of every query and key: `distance` (Q, N) is that of `distances`. (heads, N) -> (heads, Q, N)."""
    return table.index_select(1, distance.flatten()).unflatten(1, distance.shape)


def table_side(table: Tensor, class_token: bool = False) -> int:
    """Side of the square grid that a table (rows, heads) is for; a ValueError if there is none."""
    rows = len(table) - 3 * class_token
    side = (isqrt(max(rows, 0)) + 1) // 2
    if (2 * side - 1) ** 2 != rows:
        raise ValueError(f"{len(table)} position biases a head fit no square grid: choose weights of square images.")
    return side


def _growth(steps: int, reach: int) -> float:
    """Ratio of each step to the one before it with which `steps` steps, the first of length 1, span `reach`."""
    low, high = GROWTH
    growth = low
    for _ in range(HALVINGS):
        growth = (low + high) / 2
        low, high = (low, growth) if (growth**steps - 1) / (growth - 1) > reach else (growth, high)
    return growth


@kept(64)
def _between(side: int, n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each new offset along an axis: the known ones before and after it, (2n - 1,), and its share of the gap."""
    steps = _growth(side - 1, n - 1) ** torch.arange(side - 1, dtype=torch.float64, device="cpu")
    reach = steps.cumsum(0)
    known = torch.cat([-reach.flip(0), reach.new_zeros(1), reach])
    wanted = torch.arange(1.0 - n, n, dtype=torch.float64, device="cpu")
    after = torch.bucketize(wanted, known).clamp(max=len(known) - 1)
    before = (after - 1).clamp(min=0)
    gap = (known[after] - known[before]).clamp(min=1)  # 0 before the first; no step is shorter than 1
    share = ((wanted - known[before]) / gap).clamp(0, 1)  # beyond the last: the last
    return before.to(device), after.to(device), share[:, None, None].to(dtype).to(device)


def _spread(height: int, width: int) -> Tensor:
    """Rows and columns between two tokens of a window, for each row of a table. (2 * height - 1, 2 * width - 1, 2)."""
    rows, columns = (torch.arange(1.0 - n, n, device="cpu") for n in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)


@kept(64)
def log_offsets(height: int, width: int) -> Tensor:
    """sign(x) ln(1 + |x|) of the offsets x in a window: equation 4 of Swin V2. (2 * height - 1, 2 * width - 1, 2)."""
    spread = _spread(height, width)
    return spread.sign() * (spread.abs() + 1).log()  # log1p would differ in the last bits from the published models


@kept(64)
def scaled_log_offsets(height: int, width: int, reference: tuple[int, int] | None = None) -> Tensor:
    """sign(x) log8(1 + |x|) of offsets x between -8 and 8, as in Swin V2's code (Liu et al. 2021, arXiv:2111.09883).

    8 is the largest offset in a window of `reference`, which is that of the pretrained model and by default this one:
    a small net reads a bias off these numbers, so that it can do so for another window. In float32, as in the
    published models. (2 * height - 1, 2 * width - 1, 2).
    """
    largest = [max(n - 1, 1) for n in reference or (height, width)]
    spread = _spread(height, width) / torch.tensor(largest, device="cpu") * 8
    return spread.sign() * (spread.abs() + 1).log2() / math.log2(8)
