"""Attention of a whole grid in place of a 3x3 convolution (Srinivas et al. 2021, BoTNet, arXiv:2101.11605)."""

from torch import Tensor, nn

from zoo.layers.relative_scores import RelativeScores
from zoo.probe import Geometry, Grid, attention


class BottleneckAttention(nn.Module):
    """Every cell of a grid of side x side reads every cell. (B, dim, H, W) -> (B, dim, H/stride, W/stride), rounded up.

    With stride 2, the result is averaged. `head_dim`: channels of a head's queries and keys, `dim / num_heads` unless
    given.
    """

    def __init__(self, dim: int, side: int, stride: int = 1, num_heads: int = 4, head_dim: int | None = None):
        super().__init__()
        head_dim = head_dim or dim // num_heads
        self.num_heads, self.inner = num_heads, num_heads * head_dim
        self.qkv = nn.Conv2d(dim, 2 * self.inner + dim, 1, bias=False)
        self.pos_embed = RelativeScores(side, side, head_dim)
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        nn.init.trunc_normal_(self.qkv.weight, std=dim**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, *x.shape[2:])
        parts = self.qkv(x).flatten(2).split((self.inner, self.inner, x.shape[1]), 1)
        q, k, v = (t.unflatten(1, (self.num_heads, -1)).transpose(2, 3) for t in parts)  # (B, h, N, d) each
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.dense(grid), bias=self.pos_embed(q))
        return self.pool(x.transpose(2, 3).flatten(1, 2).unflatten(2, grid.shape))
