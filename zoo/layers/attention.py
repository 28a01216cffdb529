"""Multi-head attention over a list of tokens (Vaswani et al. 2017, arXiv:1706.03762), as vision transformers use it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.probe import Geometry, Grid, attention


class SelfAttention(nn.Module):
    """Every token reads every token. (B, N, C) -> (B, N, C).

    `bias` (B, 1, 1, N) is added to the scores of each key; a very low value hides padding.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def geometry(self, grid: Grid) -> Geometry:
        return Geometry.dense(grid)

    def forward(self, x: Tensor, grid: Grid, bias: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        x = attention(q, k, v, layer=self, geometry=lambda: self.geometry(grid), bias=bias)
        return self.proj(x.transpose(1, 2).flatten(2))


class AttentionPool(nn.Module):
    """One learned query reads the tokens, an MLP refines the result (Zhai et al. 2022, arXiv:2106.04560).

    (B, N, C) -> (B, C). `skip_prefix`: the query does not see class and register tokens. `bias` (B, 1, 1, N) is added
    to the scores of each token, as in SelfAttention.
    """

    def __init__(
        self, dim: int, num_heads: int, mlp: nn.Module, norm: Callable[[int], nn.Module], skip_prefix: bool = True
    ):
        super().__init__()
        self.num_heads, self.skip_prefix = num_heads, skip_prefix
        self.latent = nn.Parameter(torch.randn(1, 1, dim).mul_(dim**-0.5))
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm = norm(dim)
        self.mlp = mlp

    def forward(self, x: Tensor, grid: Grid, bias: Tensor | None = None) -> Tensor:
        start = grid.prefix if self.skip_prefix else 0
        q = self.q(self.latent).expand(len(x), -1, -1).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.kv(x[:, start:]).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        bias = None if bias is None else bias[..., start:]
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.one_query(grid, start), bias=bias)
        x = self.proj(x.transpose(1, 2).flatten(1))
        return x + self.mlp(self.norm(x))


def one_head(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    """Let each place of a map read all, with a single head. (B, d, H, W) twice, (B, C, H, W) -> (B, C, H, W)."""
    grid = Grid(0, *v.shape[2:])
    q, k, v = (t.flatten(2).transpose(1, 2)[:, None] for t in (q, k, v))  # (B, 1, N, d) each
    x = attention(q, k, v, layer=layer, geometry=lambda: Geometry.dense(grid))
    return x[:, 0].transpose(1, 2).unflatten(2, grid.shape)
