"""GCViT: attention in windows, by turns with windows whose queries summarise the whole image, the same in each window.

    image -> 3x3 conv (H/2) -> halve -> 4 stages, the grid halved before each but the first -> norm -> mean -> fc
    stage  -> queries: conv blocks and max pools, until the grid is as large as a window; then blocks
    block  -> norm -> attention in windows -> + shortcut -> norm -> MLP -> + shortcut
    halve  -> norm -> conv block -> 3x3 conv of stride 2 -> norm
    conv block -> 3x3 depthwise conv -> gates -> 1x1 conv -> + shortcut

Hatamizadeh et al. 2022, "Global Context Vision Transformers", arXiv:2206.09959. Where the image is larger, windows are
larger, not more: their number in each stage is fixed.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.channel_attention import SqueezeExcite
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.layers.pool import check_divisible
from zoo.layers.position_bias import TableBias
from zoo.layers.relative_position import table_side
from zoo.layers.scale import layer_scale
from zoo.layers.width import make_divisible
from zoo.layers.windows import tiles
from zoo.probe import attention, tap
from zoo.registry import register

CELL = 32  # side of a cell of the last grid, in pixels
WINDOWS = 8, 4, 1, 1  # down the grid, and across it, in each stage
HEAD_DIM = 32  # channels of a head
EPS = 1e-5  # of norms


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one GCViT from another."""

    depths: tuple[int, ...]  # blocks in each stage
    dim: int = 64  # channels of the first stage; each later one has twice as many
    mlp_ratio: int = 3  # hidden width of an MLP over dim
    layer_scale: float | None = None  # initial gamma, if branches have any
    img_size: int = field(default=224, kw_only=True)  # side of the image that position biases are for, pixels


class ConvBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv_dw, self.act = conv(dim, dim, 3, groups=dim), nn.GELU()
        self.se = SqueezeExcite(dim, make_divisible(dim / 4, least=0), act=nn.GELU, bias=False)
        self.conv_pw = conv(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_pw(self.se(self.act(self.conv_dw(x))))


class Halve(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/2, W/2), rounded up."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.norm1, self.conv_block = LayerNorm2d(dim_in, EPS), ConvBlock(dim_in)
        self.reduction, self.norm2 = conv(dim_in, dim, 3, 2), LayerNorm2d(dim, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.reduction(self.conv_block(self.norm1(x))))


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, dim, H/4, W/4), rounded up."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv1, self.down = conv(3, dim, 3, 2, bias=True), Halve(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.conv1(x))


class GlobalQueries(nn.Module):
    """Shrink a grid to the size of one of its windows, of which there are `windows` along a side.

    (B, C, H, W) -> (B, h * w, C).
    """

    def __init__(self, dim: int, windows: int):
        super().__init__()
        self.blocks = nn.Sequential()
        for i in range(1, max(windows.bit_length(), 2)):
            self.blocks.add_module(f"conv{i}", ConvBlock(dim))
            if windows > 1:
                self.blocks.add_module(f"pool{i}", nn.MaxPool2d(3, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x).flatten(2).transpose(1, 2)


class WindowAttention(nn.Module):
    """Attention in each window, by its own queries or by those given. (B, H, W, C), (B, h * w, C) -> (B, H, W, C).

    Either way, what a query reads becomes part of the cell whose place in the window is its own.
    """

    def __init__(self, dim: int, windows: int, side: int, by_global: bool):
        super().__init__()
        self.windows, self.by_global, self.num_heads = windows, by_global, dim // HEAD_DIM
        self.rel_pos = TableBias(side, self.num_heads)
        self.qkv, self.proj = nn.Linear(dim, (2 if by_global else 3) * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, queries: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        into = tiles(height, width, (height // self.windows, width // self.windows), x.device)
        parts = self.qkv(into.cut(x)).unflatten(2, (-1, self.num_heads, HEAD_DIM))
        parts = parts.permute(2, 0, 3, 1, 4).unbind()  # (B * W, h, Q, d) each
        if self.by_global:
            q = queries.unflatten(2, (self.num_heads, HEAD_DIM)).transpose(1, 2)  # (B, h, Q, d)
            parts = q.repeat_interleave(len(into.index), 0), *parts
        q, k, v = parts
        x = attention(q, k, v, layer=self, geometry=into.geometry, bias=self.rel_pos(into.size)[None])
        return self.proj(into.merge(x.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """(B, H, W, C), (B, h * w, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, windows: int, side: int, by_global: bool, drop_path: float, cfg: Config):
        super().__init__()
        self.norm1, self.ls1 = LayerNorm(dim, EPS), layer_scale(dim, cfg.layer_scale)
        self.attn = WindowAttention(dim, windows, side, by_global)
        self.norm2, self.ls2 = LayerNorm(dim, EPS), layer_scale(dim, cfg.layer_scale)
        self.mlp = Mlp(dim, cfg.mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, queries: Tensor) -> Tensor:
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x), queries)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, 2 * C, H/2, W/2), rounded up."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim, windows = cfg.dim << i, WINDOWS[i]
        side = cfg.img_size // (4 << i) // windows
        self.downsample = Halve(dim // 2, dim) if i else nn.Identity()
        self.global_block = GlobalQueries(dim, windows)
        self.blocks = nn.ModuleList(
            Block(dim, windows, side, j % 2 == 1, rate, cfg) for j, rate in enumerate(drop_paths)
        )
        self.norm = LayerNorm(dim, EPS) if i == len(WINDOWS) - 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        queries = self.global_block(x)
        x = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x, queries)
        return self.norm(x).permute(0, 3, 1, 2)


class GCViT(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes).

    Any H and W that 32 divides, or that lack up to 3 pixels of it: position biases are resized to the windows.
    """

    readout = "norm_mean"
    smallest = CELL - 3

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes, self.img_size = cfg.dim << 3, cfg.num_classes, cfg.img_size
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stem = Stem(cfg.dim)
        self.stages = nn.ModuleList(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates))
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the last windows' position biases, the (square) image's size."""
        table = state_dict.get("stages.3.blocks.0.attn.rel_pos.relative_position_bias_table")
        size = {} if table is None else {"img_size": CELL * table_side(table)}
        return super().fit(cfg, state_dict) | size

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        check_divisible(x, WINDOWS[0])
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x, pre_logits)


VARIANTS = {
    "gcvit_xxtiny": Config((2, 2, 6, 2)),
    "gcvit_xtiny": Config((3, 4, 6, 5)),
    "gcvit_tiny": Config((3, 4, 19, 5)),
    "gcvit_small": Config((3, 4, 19, 5), 96, 2, 1e-5),
    "gcvit_base": Config((3, 4, 19, 5), 128, 2, 1e-5),
}
register(GCViT, VARIANTS)
