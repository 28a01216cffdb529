"""Relative positions that the query weighs: an offset adds the query's product with a vector of that offset.

Shaw et al. 2018, arXiv:1803.02155; in two dimensions, a vector for the rows between query and key and one for the
columns: Bello et al. 2019, "Attention Augmented Convolutional Networks", arXiv:1904.09925, section 3.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.kept import kept


class RelativeScores(nn.Module):
    """Queries of a block of side x side cells, keys of a larger window, both counted from 0.

    (..., side * side, d) -> (..., side * side, window * window), to be added to the scores of queries and keys.
    """

    def __init__(self, side: int, window: int, head_dim: int):
        super().__init__()
        self.side, self.window = side, window
        self.height_rel = nn.Parameter(torch.empty(2 * window - 1, head_dim))
        self.width_rel = nn.Parameter(torch.empty(2 * window - 1, head_dim))
        for table in (self.height_rel, self.width_rel):
            nn.init.trunc_normal_(table, std=head_dim**-0.5)

    def forward(self, q: Tensor) -> Tensor:
        q = q.unflatten(-2, (self.side, self.side))
        offset = offsets(self.side, self.window, q.device)
        rows = torch.einsum("...yxd,ykd->...yxk", q, self.height_rel[offset])
        columns = torch.einsum("...yxd,xkd->...yxk", q, self.width_rel[offset])
        return (rows[..., :, None] + columns[..., None, :]).flatten(-2).flatten(-3, -2)


@kept(16)
def offsets(side: int, window: int, device: torch.device) -> Tensor:
    """The row of a table for each query and key along an axis. (side, window)."""
    return torch.arange(window, device=device) - torch.arange(side, device=device)[:, None] + window - 1


def stretched_scores(
    q: Tensor, rows: Tensor, columns: Tensor, queries: tuple[int, int], keys: tuple[int, int]
) -> Tensor:
    """The same for queries and keys that cover one image with grids of any sizes. (B, h, Q, d) -> (B, h, Q, K).

    `rows` and `columns` hold a vector for each offset along an axis, and are stretched to the grids.
    """
    q = q.unflatten(2, queries)
    down = torch.einsum("bhyxd,ykd->bhyxk", q, vectors(rows, queries[0], keys[0]))
    across = torch.einsum("bhyxd,xkd->bhyxk", q, vectors(columns, queries[1], keys[1]))
    return (down[..., :, None] + across[..., None, :]).flatten(4).flatten(2, 3)


@kept(64)
def distances(queries: int, keys: int, device: torch.device) -> Tensor:
    """The row of a table for each query and key along an axis, in steps of the finer grid. (queries, keys)."""
    down, across = max(keys / queries, 1.0), max(queries / keys, 1.0)
    steps = torch.arange(queries, device=device)[:, None] * down - torch.arange(keys, device=device) * across
    return (steps + (keys - 1) * across).long()


def vectors(table: Tensor, queries: int, keys: int) -> Tensor:
    """The vector for each query and key along an axis, of a table stretched to their grids. -> (queries, keys, d)."""
    rows = 2 * max(queries, keys) - 1
    if len(table) != rows:
        table = F.interpolate(table.T[None], rows, mode="linear")[0].T
    return table[distances(queries, keys, table.device)]
