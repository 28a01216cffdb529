"""Class attention: only the class token is a query (Touvron et al. 2021, CaiT, arXiv:2103.17239, section 3)."""

from torch import Tensor, nn

from zoo.probe import Geometry, Grid, attention


class ClassAttention(nn.Module):
    """The first token reads every token, itself included; `grid` counts it in its prefix. (B, N, C) -> (B, 1, C)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, k, v = self.q(x[:, :1]), self.k(x), self.v(x)
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, h, 1 or N, d)
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.first_query(grid))
        return self.proj(x.transpose(1, 2).flatten(2))
