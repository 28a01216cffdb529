"""Swin V2: Swin made stable at billions of parameters, and its windows free to grow after training.

    as zoo/families/swin.py, but
    block     -> attention in each window -> norm -> + shortcut -> MLP -> norm -> + shortcut
    attention = cosines of queries and keys times a learned temperature, + a bias that a small net reads off the offset

Liu et al. 2021, "Swin Transformer V2: Scaling Up Capacity and Resolution", arXiv:2111.09883. The `cr` models are an
independent reading of the paper (C. Reich), with windows that are an eighth of the first grid of any image, and with
another norm on the trunk: after each stage (ns) or every sixth block (huge and giant), and after the last.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.families.swin import EPS, NormedPatchEmbed, PatchMerging, merge
from zoo.layers.adapt import Layout
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.layers.relative_position import by_pair, log_offsets, offsets, scaled_log_offsets
from zoo.layers.windows import Size, windows
from zoo.probe import attention, tap
from zoo.registry import register

PATCH, MLP_RATIO = 4, 4  # side in pixels; hidden width of an MLP over dim
COLDEST = math.log(100)  # the largest temperature of the cosines, as a logarithm
BIAS = 16  # the largest position bias
SHARE = 8  # of the first grid's side, one window is an eighth


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one Swin V2 from another."""

    dim: int  # channels of the first stage; each later one has twice as many
    depths: tuple[int, ...]  # blocks in each stage
    num_heads: tuple[int, ...]  # in each stage
    window: int = 8  # side of a window, in tokens
    trained_window: tuple[int | None, ...] = 4 * (None,)  # in each stage, before fine-tuning; None: the same


@dataclass(frozen=True)
class CrConfig(base.Config):
    """What tells one `cr` model from another."""

    dim: int  # channels of the first stage; each later one has twice as many
    depths: tuple[int, ...]  # blocks in each stage
    num_heads: tuple[int, ...]  # in each stage
    stage_norm: bool = False  # norm after each stage
    norm_every: int = 0  # norm after so many blocks of a stage


class CosineAttention(nn.Module):
    """(B, H, W, C) -> (B, H, W, C); a subclass makes queries, keys and values, and the position biases."""

    logit_scale: nn.Parameter

    def __init__(self, dim: int, num_heads: int, shifted: bool):
        super().__init__()
        self.num_heads, self.shifted = num_heads, shifted
        self.proj = nn.Linear(dim, dim)

    def project(self, x: Tensor) -> Tensor:
        """(B * n, N, C) -> (B * n, N, 3 * C)."""
        raise NotImplementedError

    def biases(self, size: Size) -> Tensor:
        """One for each offset in a window of h x w tokens. -> (2h - 1, 2w - 1, heads)."""
        raise NotImplementedError

    def forward(self, x: Tensor, window: Size) -> Tensor:
        into = windows(x.shape[1], x.shape[2], window, self.shifted, x.device)
        q, k, v = self.project(into.cut(x)).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        temperature = self.logit_scale.clamp(max=COLDEST).exp().view(-1, 1, 1)
        q, k = F.normalize(q, dim=3) * temperature, F.normalize(k, dim=3)
        bias = into.masked(by_pair(self.biases(into.size).flatten(0, 1), offsets(*into.size, x.device)), len(x))
        y = attention(q, k, v, layer=self, geometry=into.geometry, bias=bias, scale=1.0)
        return self.proj(into.merge(y.transpose(1, 2).flatten(2)))


class Attention(CosineAttention):
    """Keys have no bias; position biases lie between 0 and 16. (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, num_heads: int, shifted: bool, trained_window: int | None):
        super().__init__(dim, num_heads, shifted)
        self.reference = (trained_window, trained_window) if trained_window else None
        self.logit_scale = nn.Parameter(torch.full((num_heads, 1, 1), math.log(10)))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, num_heads, bias=False))
        self.gate = nn.Sigmoid()
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.qkv.weight, torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias]))

    def biases(self, size: Size) -> Tensor:
        return BIAS * self.gate(self.cpb_mlp(scaled_log_offsets(*size, self.reference).to(self.q_bias)))


class CrAttention(CosineAttention):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, num_heads: int, shifted: bool):
        super().__init__(dim, num_heads, shifted)
        self.logit_scale = nn.Parameter(torch.full((num_heads,), math.log(10)))
        self.qkv = nn.Linear(dim, 3 * dim)
        layers = {"fc1": nn.Linear(2, 384), "act": nn.ReLU(), "fc2": nn.Linear(384, num_heads)}
        self.meta_mlp = nn.Sequential(OrderedDict(layers))

    def project(self, x: Tensor) -> Tensor:
        return self.qkv(x)

    def biases(self, size: Size) -> Tensor:
        return self.meta_mlp(log_offsets(*size).to(self.logit_scale))


def closed_norm(dim: int) -> LayerNorm:
    """Make a norm that starts with factors of 0, so that a block starts as the identity. (B, ..., dim) -> same."""
    norm = LayerNorm(dim, EPS)
    nn.init.zeros_(norm.weight)
    return norm


class Block(nn.Module):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, attn: CosineAttention, drop_path: float, trunk_norm: bool = False):
        super().__init__()
        self.attn, self.norm1 = attn, closed_norm(dim)
        self.mlp, self.norm2 = Mlp(dim, MLP_RATIO * dim), closed_norm(dim)
        self.norm3 = LayerNorm(dim, EPS) if trunk_norm else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, window: Size) -> Tensor:
        x = x + self.drop_path(self.norm1(self.attn(x, window)))
        return self.norm3(x + self.drop_path(self.norm2(self.mlp(x))))


class Merging(nn.Module):
    """Merge each 2x2 tokens into one. (B, H, W, C) -> (B, H/2, W/2, 2 * C), rounded up."""

    def __init__(self, dim: int):
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = LayerNorm(2 * dim, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.reduction(merge(x)))


class Stage(nn.Module):
    """(B, H, W, C) -> (B, H/2, W/2, 2 * C), or the same shape in the first stage."""

    def __init__(self, downsample: nn.Module, blocks: list[Block]):
        super().__init__()
        self.downsample, self.blocks = downsample, nn.ModuleList(blocks)

    def forward(self, x: Tensor, window: Size) -> Tensor:
        x = self.downsample(x)
        for block in self.blocks:
            x = block(x, window)
        return x


class SwinV2(Backbone):
    """Image (B, 3, H, W) -> features (B, H/32, W/32, num_features) -> logits (B, num_classes)."""

    readout = "norm_mean"
    smallest = PATCH
    layouts = (Layout(unused=r"relative_position_index$|relative_coords_table$|attn_mask$"),)

    def __init__(self, cfg: Config):
        super().__init__()
        self.window = cfg.window
        self.num_features, self.num_classes = cfg.dim * 2 ** (len(cfg.depths) - 1), cfg.num_classes
        self.patch_embed = NormedPatchEmbed(PATCH, cfg.dim)
        self.layers = nn.ModuleList()
        for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)):
            dim, heads, trained = cfg.dim * 2**i, cfg.num_heads[i], cfg.trained_window[i]
            blocks = [Block(dim, Attention(dim, heads, j % 2 == 1, trained), rate) for j, rate in enumerate(rates)]
            self.layers.append(Stage(Merging(dim // 2) if i else nn.Identity(), blocks))
        self.norm = LayerNorm(self.num_features, EPS)
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)
        self.apply(init_linear)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for i, stage in enumerate(self.layers, 1):
            x = tap(f"stage{i}", stage(x, (self.window, self.window)), "NHWC")
        return tap("cam", self.norm(x), "NHWC")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x.permute(0, 3, 1, 2), pre_logits)


class SwinV2Cr(Backbone):
    """Image (B, 3, H, W) -> features (B, H/32, W/32, num_features) -> logits (B, num_classes)."""

    readout = "norm_mean"
    smallest = PATCH

    def __init__(self, cfg: CrConfig):
        super().__init__()
        self.num_features, self.num_classes = cfg.dim * 2 ** (len(cfg.depths) - 1), cfg.num_classes
        self.patch_embed = NormedPatchEmbed(PATCH, cfg.dim)
        self.stages = nn.ModuleList()
        for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)):
            dim, depth = cfg.dim * 2**i, len(rates)
            normed = {depth} if cfg.stage_norm or i + 1 == len(cfg.depths) else set()
            normed |= set(range(cfg.norm_every, depth + 1, cfg.norm_every)) if cfg.norm_every else set()
            blocks = [
                Block(dim, CrAttention(dim, cfg.num_heads[i], j % 2 == 0), rate, trunk_norm=j in normed)
                for j, rate in enumerate(rates, 1)
            ]
            self.stages.append(Stage(PatchMerging(dim // 2) if i else nn.Identity(), blocks))
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        window = max(x.shape[1] // SHARE, 1), max(x.shape[2] // SHARE, 1)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x, window), "NHWC")
        return tap("cam", x, "NHWC")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x.permute(0, 3, 1, 2), pre_logits)


TINY = Config(96, (2, 2, 6, 2), (3, 6, 12, 24))
SMALL = Config(96, (2, 2, 18, 2), (3, 6, 12, 24))
BASE = Config(128, (2, 2, 18, 2), (4, 8, 16, 32))
LARGE = Config(192, (2, 2, 18, 2), (6, 12, 24, 48))
FROM12 = 12, 12, 12, 6  # the last stage of a 192-pixel image has 6x6 tokens
V2 = {
    "swinv2_tiny_window8_256": TINY,
    "swinv2_tiny_window16_256": replace(TINY, window=16),
    "swinv2_small_window8_256": SMALL,
    "swinv2_small_window16_256": replace(SMALL, window=16),
    "swinv2_base_window8_256": BASE,
    "swinv2_base_window12_192": replace(BASE, window=12, num_classes=21841),
    "swinv2_base_window16_256": replace(BASE, window=16),
    "swinv2_base_window12to16_192to256": replace(BASE, window=16, trained_window=FROM12),
    "swinv2_base_window12to24_192to384": replace(BASE, window=24, trained_window=FROM12),
    "swinv2_large_window12_192": replace(LARGE, window=12, num_classes=21841),
    "swinv2_large_window12to16_192to256": replace(LARGE, window=16, trained_window=FROM12),
    "swinv2_large_window12to24_192to384": replace(LARGE, window=24, trained_window=FROM12),
}
register(SwinV2, V2)

CR_TINY = CrConfig(96, (2, 2, 6, 2), (3, 6, 12, 24))
CR_SMALL = CrConfig(96, (2, 2, 18, 2), (3, 6, 12, 24))
CR_BASE = CrConfig(128, (2, 2, 18, 2), (4, 8, 16, 32))
CR_LARGE = CrConfig(192, (2, 2, 18, 2), (6, 12, 24, 48))
CR_GIANT = CrConfig(512, (2, 2, 42, 2), (16, 32, 64, 128), norm_every=6)
CR = {
    "swinv2_cr_tiny_224": CR_TINY,
    "swinv2_cr_tiny_384": CR_TINY,
    "swinv2_cr_tiny_ns_224": replace(CR_TINY, stage_norm=True),
    "swinv2_cr_small_224": CR_SMALL,
    "swinv2_cr_small_384": CR_SMALL,
    "swinv2_cr_small_ns_224": replace(CR_SMALL, stage_norm=True),
    "swinv2_cr_small_ns_256": replace(CR_SMALL, stage_norm=True),
    "swinv2_cr_base_224": CR_BASE,
    "swinv2_cr_base_384": CR_BASE,
    "swinv2_cr_base_ns_224": replace(CR_BASE, stage_norm=True),
    "swinv2_cr_large_224": CR_LARGE,
    "swinv2_cr_large_384": CR_LARGE,
    "swinv2_cr_huge_224": CrConfig(352, (2, 2, 18, 2), (8, 16, 32, 64), norm_every=6),
    "swinv2_cr_huge_384": CrConfig(352, (2, 2, 18, 2), (11, 22, 44, 88), norm_every=6),
    "swinv2_cr_giant_224": CR_GIANT,
    "swinv2_cr_giant_384": CR_GIANT,
}
register(SwinV2Cr, CR)

VARIANTS = V2 | CR
