"""Mobile attention: heads that share their keys and values, on a grid that may be coarser than the queries'.

Shazeer 2019, "Fast Transformer Decoding: One Write-Head is All You Need", arXiv:1911.02150; for images in Qin et al.
2024, "MobileNetV4", arXiv:2404.10518.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from zoo.layers.mbconv import Block, MobileRow, depthwise
from zoo.layers.scale import LayerScale2d
from zoo.layers.table import Style
from zoo.probe import Geometry, Grid, attention


def projection(dim_in: int, dim: int, stride: int, row: "MultiQuery", style: Style) -> nn.Sequential:
    """(depthwise conv -> norm, where the grid gets coarser) -> 1x1 conv. (B, dim_in, H, W) -> (B, dim, H/s, W/s)."""
    layers = nn.Sequential()
    if stride > 1:
        layers.add_module("down_conv", depthwise(dim_in, row.kernel, stride, style))
        layers.add_module("norm", style.norm(dim_in))
    layers.add_module("proj", style.conv(dim_in, dim, 1))
    return layers


class MultiQueryAttention(nn.Module):
    """Every position asks in each of many heads; there is one list of keys and values. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, row: "MultiQuery", style: Style):
        super().__init__()
        self.num_heads = row.num_heads
        inner = row.num_heads * row.head_dim
        self.query = projection(dim, inner, 1, row, style)
        self.key = projection(dim, row.head_dim, row.key_stride, row, style)
        self.value = projection(dim, row.head_dim, row.key_stride, row, style)
        self.output = projection(inner, dim, 1, row, style)

    def forward(self, x: Tensor) -> Tensor:
        k, v = self.key(x), self.value(x)  # (B, d, h, w)
        queries, keys = Grid(0, *x.shape[2:]), Grid(0, *k.shape[2:])
        q = self.query(x).flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)  # (B, h, Q, d)
        k, v = (t.flatten(2).transpose(1, 2)[:, None].expand(-1, self.num_heads, -1, -1) for t in (k, v))
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.across(queries, keys))  # (B, h, Q, d)
        return self.output(x.transpose(2, 3).flatten(1, 2).unflatten(2, queries.shape))


class MobileAttention(Block):
    """norm -> attention, plus the input. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim_in: int, row: "MultiQuery", stride: int, drop_path: float, style: Style):
        super().__init__(dim_in, row, stride, drop_path)
        self.norm = style.norm(dim_in)
        self.attn = MultiQueryAttention(dim_in, row, style)
        self.layer_scale = nn.Identity() if style.layer_scale is None else LayerScale2d(row.dim, style.layer_scale)

    def branch(self, x: Tensor) -> Tensor:
        return self.layer_scale(self.attn(self.norm(x)))


@dataclass(frozen=True)
class MultiQuery(MobileRow):
    """A row of MobileAttention: `dim` is that of the row before. `kernel` is that of the conv that pools the keys."""

    num_heads: int = 8
    head_dim: int = 64
    key_stride: int = 1  # of the keys' grid, in cells of the queries'
    attends = True
    make = MobileAttention
