"""FasterViT: attention in windows, each of which owns a few carrier tokens that exchange news between windows.

    image -> 2 convs (H/4) -> 2 stages of conv blocks -> 2 stages of attention blocks -> norm -> mean -> fc
    conv block      -> 3x3 conv -> GELU -> 3x3 conv -> + shortcut
    attention block -> (carriers read carriers -> MLP) -> each window and its carriers read each other -> MLP

Hatamizadeh et al. 2023, "FasterViT: Fast Vision Transformers with Hierarchical Attention", arXiv:2306.06189. 4_21k:
from ImageNet-21k, with windows so large that no carriers are needed. any_res: built for 576x960. All take any image
here: a grid that windows do not divide is padded, as in the authors' any_res models. Their `resolution` is `img_size`.

As there, carriers of a window grid that is not square change places from block to block (`Carriers.stored`).
"""

from dataclasses import dataclass, field, replace
from math import isqrt
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import MeanReadout
from zoo.layers.adapt import Layout
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.kept import kept
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.layers.relative_position import by_pair, offsets, scaled_log_offsets
from zoo.layers.scale import gamma, scaled
from zoo.layers.windows import tiles
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

MLP_RATIO, EPS = 4, 1e-5  # hidden width of an MLP over dim; of its layer norms
BIAS = 16  # the largest position bias


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one FasterViT from another."""

    dim: int  # channels of the first stage; each later one has twice as many
    in_dim: int  # channels of the first conv
    depths: tuple[int, int, int, int]  # blocks in each stage
    num_heads: tuple[int, int]  # in the last two stages
    window_size: tuple[int, int] = (7, 7)  # side of a window in the last two stages, in tokens
    ct_size: int = 2  # side of the square of a window's carriers in the third stage; 0: it has none
    layer_scale: float | None = None  # initial gamma of attention blocks, if they have any
    propagate: bool = False  # carriers are added to the patches at the end of the third stage
    img_size: int = field(default=224, kw_only=True)  # height, and width unless given, of images to come, in pixels
    img_width: int | None = None  # their width: whether windows are many, and form a square, decides what there is


class Carriers(NamedTuple):
    """Where the carriers of down x across windows are, c x c of each."""

    place: Tensor  # (N,): for each place of their grid, by rows, the slot in which it is stored
    stored: Tensor  # (N,): for each slot, the place that fills it again; not the inverse if the grid is not square
    down: int
    across: int
    side: int  # c


@kept(16)
def carriers(down: int, across: int, side: int, device: torch.device) -> Carriers:
    slots = torch.arange(down * across * side * side, device=device)
    place = slots.view(down, across, side, side).transpose(1, 2).flatten()
    stored = slots.view(across, side, down, side).transpose(1, 2).flatten()
    return Carriers(place, stored, down, across, side)


@kept(16)
def coordinates(side: int) -> Tensor:
    """Rows and columns of a square's cells, about from -1 to 1. (side * side, 2)."""
    axis = (torch.arange(side, dtype=torch.float64, device="cpu") - side // 2) / max(side // 2, 1)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).flatten(0, 1)


def net(dim: int) -> nn.Sequential:
    """Make the net that reads something off two coordinates. (..., 2) -> (..., dim)."""
    return nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, dim, bias=False))


class Positions(nn.Module):
    """Add to each token of a square what a net reads off its place. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.cpb_mlp = net(dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cpb_mlp(coordinates(isqrt(x.shape[1])).to(x))


class Biases(nn.Module):
    """What is added to the scores (B, h, N, N): for the last tokens, which fill a square, by offset. -> (h, N, N).

    Earlier tokens have no place, and no bias.
    """

    def __init__(self, num_heads: int):
        super().__init__()
        self.cpb_mlp, self.gate = net(num_heads), nn.Sigmoid()

    def forward(self, tokens: int, side: int, like: Tensor) -> Tensor:
        table = BIAS * self.gate(self.cpb_mlp(scaled_log_offsets(side, side).to(like)))
        others = tokens - side * side
        return F.pad(by_pair(table.flatten(0, 1), offsets(side, side, like.device)), (others, 0, others, 0))


class Attention(nn.Module):
    """The tokens of a row read each other; `index` (n, N) says which of the grid they are. (B * n, N, C) -> same.

    The last of them fill a square of `side` x `side`.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.pos_emb_funct = Biases(num_heads)

    def forward(self, x: Tensor, index: Tensor, grid: Grid, side: int) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.pos_emb_funct(x.shape[1], side, x)[None]
        y = attention(q, k, v, layer=self, geometry=lambda: Geometry(index, index, grid, grid), bias=bias)
        return self.proj(y.transpose(1, 2).flatten(2))


class Mixing(nn.Module):
    """norm -> attention -> + shortcut -> norm -> MLP -> + shortcut, in windows. (B * n, N, C) -> (B * n, N, C)."""

    def __init__(self, dim: int, num_heads: int, drop_path: float, start: float | None):
        super().__init__()
        self.pos_embed = Positions(dim)
        self.norm1, self.attn, self.gamma3 = LayerNorm(dim, EPS), Attention(dim, num_heads), gamma(dim, start)
        self.norm2, self.mlp, self.gamma4 = LayerNorm(dim, EPS), Mlp(dim, MLP_RATIO * dim), gamma(dim, start)
        self.drop_path = DropPath(drop_path)

    def mix(self, x: Tensor, index: Tensor, grid: Grid, side: int) -> Tensor:
        x = x + self.drop_path(scaled(self.attn(self.norm1(x), index, grid, side), self.gamma3))
        return x + self.drop_path(scaled(self.mlp(self.norm2(x)), self.gamma4))


class Block(Mixing):
    """(B * n, s * s, C) -> (B * n, s * s, C). `index` (n, s * s) tells which tokens of the grid the windows have."""

    def forward(self, x: Tensor, index: Tensor, grid: Grid) -> Tensor:
        return self.mix(self.pos_embed(x), index, grid, isqrt(x.shape[1]))


class CarrierBlock(Mixing):
    """Windows (B * n, s * s, C) and carriers (B, N, C), window by window -> the same shapes.

    `square`: the grid of windows that it is built for is one.
    """

    def __init__(self, dim: int, num_heads: int, drop_path: float, start: float | None, square: bool):
        super().__init__(dim, num_heads, drop_path, start)
        self.hat_norm1, self.hat_norm2 = LayerNorm(dim, EPS), LayerNorm(dim, EPS)
        self.hat_attn, self.hat_mlp = Attention(dim, num_heads), Mlp(dim, MLP_RATIO * dim)
        self.hat_pos_embed = Positions(dim) if square else nn.Identity()
        self.gamma1, self.gamma2 = gamma(dim, start), gamma(dim, start)

    def exchange(self, ct: Tensor, index: Tensor, grid: Grid, at: Carriers) -> Tensor:
        """Let all carriers read each other. (B, N, C) -> (B, N, C)."""
        ct = ct[:, at.place]
        ct = self.hat_pos_embed(ct) if at.down == at.across else ct
        side = isqrt(ct.shape[1])
        y = self.hat_attn(self.hat_norm1(ct), index[at.place][None], grid, side)
        ct = ct + self.drop_path(scaled(y, self.gamma1))
        ct = ct + self.drop_path(scaled(self.hat_mlp(self.hat_norm2(ct)), self.gamma2))
        return ct[:, at.stored]

    def forward(
        self, x: Tensor, ct: Tensor | None, index: Tensor, own: Tensor, grid: Grid, at: Carriers
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """`own` (N,) tells which carrier is in each slot; returned as it is after the block. One window has none."""
        x, side = self.pos_embed(x), isqrt(x.shape[1])
        if ct is None:
            return self.mix(x, index, grid, side), None, own
        ct = self.exchange(ct, own, grid, at)
        own, count = own[at.place][at.stored], at.side**2
        index = torch.cat([own.view(-1, count), torch.where(index < 0, -1, index + grid.prefix)], 1)
        tokens = torch.cat([ct.reshape(len(x), count, -1), x], 1)
        read, x = self.mix(tokens, index, grid, side).tensor_split((count,), 1)
        return x, read.reshape(ct.shape), own


class Tokenizer(nn.Module):
    """Pool the patches to carriers, c x c of each window. (B, C, H, W) -> (B, N, C), window by window."""

    def __init__(self, dim: int):
        super().__init__()
        self.to_global_feature = nn.Sequential()
        self.to_global_feature.add_module("pos", conv(dim, dim, 3, groups=dim, bias=True))

    def forward(self, x: Tensor, at: Carriers) -> Tensor:
        places = at.down * at.side, at.across * at.side
        stride = x.shape[2] // places[0], x.shape[3] // places[1]
        kernel = tuple(n - (count - 1) * step for n, count, step in zip(x.shape[2:], places, stride, strict=True))
        x = F.avg_pool2d(self.to_global_feature(x), kernel, stride).flatten(2).transpose(1, 2)
        return x[:, at.place.argsort()]


class ConvBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float):
        super().__init__()
        self.conv1, self.norm1, self.act1 = conv(dim, dim, 3, bias=True), nn.BatchNorm2d(dim), nn.GELU()
        self.conv2, self.norm2 = conv(dim, dim, 3, bias=True), nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x))))))


class ConvLevel(nn.Module):
    """(B, C, H, W) -> (B, 2 * C, H/2, W/2), rounded up. `name`: of the tap after the blocks."""

    def __init__(self, dim: int, rates: list[float]):
        super().__init__()
        self.blocks = nn.Sequential(*(ConvBlock(dim, rate) for rate in rates))
        self.downsample = Downsample(dim)

    def forward(self, x: Tensor, name: str) -> Tensor:
        return self.downsample(tap(name, self.blocks(x), "NCHW"))


class LocalLevel(nn.Module):
    """Attention inside windows. (B, C, H, W) -> (B, 2 * C, H/2, W/2), rounded up; the last level keeps its shape."""

    def __init__(self, dim: int, side: int, blocks: list[Block] | list[CarrierBlock], last: bool):
        super().__init__()
        self.side, self.blocks = side, nn.ModuleList(blocks)
        self.downsample = nn.Identity() if last else Downsample(dim)

    def end(self, x: Tensor, name: str) -> Tensor:
        """Tap (B, H, W, C), then halve the grid."""
        return self.downsample(tap(name, x.permute(0, 3, 1, 2), "NCHW"))

    def forward(self, x: Tensor, name: str) -> Tensor:
        into = tiles(x.shape[2], x.shape[3], (self.side, self.side), x.device)
        tokens = into.cut(x.permute(0, 2, 3, 1))
        for block in self.blocks:
            tokens = block(tokens, into.index, into.grid)
        return self.end(into.merge(tokens), name)


class CarrierLevel(LocalLevel):
    """The same with carriers, if there is more than one window. (B, C, H, W) -> (B, 2 * C, H/2, W/2), rounded up."""

    def __init__(self, dim: int, cfg: Config, blocks: list[CarrierBlock]):
        super().__init__(dim, cfg.window_size[0], blocks, last=False)
        self.ct_size, self.propagate = cfg.ct_size, cfg.propagate
        self.global_tokenizer = Tokenizer(dim)

    def forward(self, x: Tensor, name: str) -> Tensor:
        height, width = x.shape[2:]
        down, across = -(-height // self.side), -(-width // self.side)
        several = down * across > 1
        at = carriers(down, across, self.ct_size, x.device)
        into = tiles(height, width, (self.side, self.side), x.device)
        padded = F.pad(x, (0, across * self.side - width, 0, down * self.side - height))
        ct, own = self.global_tokenizer(padded, at) if several else None, torch.arange(len(at.place), device=x.device)
        tokens, grid = into.cut(x.permute(0, 2, 3, 1)), into.grid._replace(prefix=len(at.place) * several)
        for block in self.blocks:
            tokens, ct, own = block(tokens, ct, into.index, own, grid, at)
        if self.propagate and ct is not None:
            tokens = tokens + self.spread(ct, len(tokens))
        return self.end(into.merge(tokens), name)

    def spread(self, ct: Tensor, windows: int) -> Tensor:
        """Give each token the nearest carrier of its window. (B, N, C) -> (B * n, s * s, C)."""
        factors = self.blocks[-1].get_parameter("gamma1")
        square = (ct * factors).reshape(windows, self.ct_size, self.ct_size, -1).permute(0, 3, 1, 2)
        return F.interpolate(square, size=(self.side, self.side)).flatten(2).transpose(1, 2)


class Downsample(nn.Module):
    """(B, C, H, W) -> (B, 2 * C, H/2, W/2), rounded up."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = LayerNorm2d(dim)
        self.reduction = nn.Sequential(conv(dim, 2 * dim, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(x))


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, dim, H/4, W/4), rounded up."""

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.conv_down = nn.Sequential(
            conv(3, in_dim, 3, 2), nn.BatchNorm2d(in_dim, 1e-4), nn.ReLU(),
            conv(in_dim, dim, 3, 2), nn.BatchNorm2d(dim, 1e-4), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_down(x)


class FasterViT(MeanReadout):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "norm_mean"
    classifier_key = "head"
    layouts = (
        Layout(marker=r"^state_dict$", under=r"state_dict\."),
        Layout(unused=r"relative_bias$|relative_coords_table$|relative_position_index$|global_tokenizer\.pos_embed\."),
    )

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = 8 * cfg.dim, cfg.num_classes
        self.patch_embed = Stem(cfg.in_dim, cfg.dim)
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        dims = tuple(cfg.dim << i for i in range(4))
        size = cfg.img_size, cfg.img_width or cfg.img_size
        windows = [-(-n // 16 // cfg.window_size[0]) for n in size]
        if cfg.ct_size and max(windows) > 1:
            square = windows[0] == windows[1]
            blocks = [CarrierBlock(dims[2], cfg.num_heads[0], r, cfg.layer_scale, square) for r in rates[2]]
            third = CarrierLevel(dims[2], cfg, blocks)
        else:
            third = LocalLevel(dims[2], cfg.window_size[0], self.local(dims[2], 0, rates[2], cfg), last=False)
        fourth = LocalLevel(dims[3], cfg.window_size[1], self.local(dims[3], 1, rates[3], cfg), last=True)
        first, second = (ConvLevel(dim, rate) for dim, rate in zip(dims, rates[:2], strict=False))
        self.levels = nn.ModuleList([first, second, third, fourth])
        self.norm = nn.BatchNorm2d(self.num_features)
        self.drop = nn.Dropout(cfg.drop)
        self.head = classifier(self.num_features, cfg.num_classes)
        self.apply(init_linear)

    @staticmethod
    def local(dim: int, i: int, rates: list[float], cfg: Config) -> list[Block]:
        return [Block(dim, cfg.num_heads[i], rate, cfg.layer_scale) for rate in rates]

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes, and whether the windows form a square."""
        square = any("hat_pos_embed" in key for key in state_dict)
        return super().fit(cfg, state_dict) | ({"img_width": None} if square else {})

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for i, level in enumerate(self.levels, 1):
            x = level(x, f"stage{i}")
        return tap("cam", self.norm(x), "NCHW")


V0 = Config(64, 64, (2, 3, 6, 5), (8, 16))
V1 = Config(80, 32, (1, 3, 8, 5), (8, 16))
V2 = Config(96, 64, (3, 3, 8, 5), (8, 16))
V3 = Config(128, 64, (3, 3, 12, 5), (8, 16), layer_scale=1e-5, propagate=True)
V4 = Config(196, 64, (3, 3, 12, 5), (16, 32), layer_scale=1e-5, propagate=True)
V5 = Config(320, 64, (3, 3, 12, 5), (16, 32), layer_scale=1e-5, propagate=True)
V6 = Config(320, 64, (3, 3, 16, 8), (16, 32), layer_scale=1e-5, propagate=True)
V4_21K = replace(V4, ct_size=0, propagate=False)
ANY = {"img_size": 576, "img_width": 960}
VARIANTS = {
    "faster_vit_0_224": V0,
    "faster_vit_1_224": V1,
    "faster_vit_2_224": V2,
    "faster_vit_3_224": V3,
    "faster_vit_4_224": V4,
    "faster_vit_5_224": V5,
    "faster_vit_6_224": V6,
    "faster_vit_0_any_res": replace(V0, **ANY),
    "faster_vit_1_any_res": replace(V1, **ANY),
    "faster_vit_2_any_res": replace(V2, **ANY | {"img_size": 541}),
    "faster_vit_3_any_res": replace(V3, **ANY),
    "faster_vit_4_any_res": replace(V4, **ANY),
    "faster_vit_5_any_res": replace(V5, **ANY),
    "faster_vit_6_any_res": replace(V6, **ANY),
    "faster_vit_4_21k_224": replace(V4_21K, window_size=(14, 7)),
    "faster_vit_4_21k_384": replace(V4_21K, window_size=(24, 12), img_size=384),
    "faster_vit_4_21k_512": replace(V4_21K, window_size=(32, 16), img_size=512),
    "faster_vit_4_21k_768": replace(V4_21K, window_size=(48, 24), img_size=768),
    "faster_vit_4_21k_224_any_res": replace(V4_21K, window_size=(14, 7), **ANY),
    "faster_vit_4_21k_384_any_res": replace(V4_21K, window_size=(24, 12), **ANY),
    "faster_vit_4_21k_512_any_res": replace(V4_21K, window_size=(32, 16), **ANY),
    "faster_vit_4_21k_768_any_res": replace(V4_21K, window_size=(48, 24), **ANY),
}
register(FasterViT, VARIANTS)
