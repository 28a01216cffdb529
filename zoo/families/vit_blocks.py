"""ViT with other blocks: parallel branches, norms after the branches, attention as a difference.

    post-norm      -> attention -> norm -> + shortcut -> MLP -> norm -> + shortcut
    parallel       -> norm -> attention and MLP, both on the same input -> + shortcut
    parallel pairs -> two attentions in parallel -> + shortcut -> two MLPs in parallel -> + shortcut
    difference     -> one softmax minus another, which cancels what both attend to

Parallel pairs: Touvron et al. 2022, "Three things everyone should know about Vision Transformers", arXiv:2203.09795.
Parallel and query-key norm: Dehghani et al. 2023, "Scaling Vision Transformers to 22 Billion Parameters",
arXiv:2302.05442. Difference: Ye et al. 2024, "Differential Transformer", arXiv:2410.05258. Norms after the branches as
in Swin V2, Liu et al. 2021, arXiv:2111.09883.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.families.vit import BASE, GAP, HUGE, LARGE, SMALL, UNBIASED, Config, Tokens, ViT
from zoo.layers.drop import DropPath
from zoo.layers.embed import PatchEmbed
from zoo.layers.norm import RmsNorm
from zoo.layers.scale import layer_scale
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register


class PostNormBlock(nn.Module):
    """(B, N, C) -> (B, N, C). The norms' weights start small, as layer scale would."""

    def __init__(self, index: int, drop_path: float, cfg: Config):
        super().__init__()
        self.attn = cfg.attention(index, cfg)
        self.norm1 = cfg.norm(cfg.dim)
        self.mlp = cfg.mlp(cfg.dim, int(cfg.dim * cfg.mlp_ratio))
        self.norm2 = cfg.norm(cfg.dim)
        self.drop_path = DropPath(drop_path)
        for norm in (self.norm1, self.norm2):
            nn.init.constant_(norm.get_parameter("weight"), cfg.layer_scale or 1.0)

    def forward(self, x: Tensor, grid: Grid, *more: Any, last: bool = False) -> Tensor:
        if last:
            x = tap("cam", x, "NLC", grid)
        x = x + self.drop_path(self.norm1(self.attn(x, grid, *more)))
        return x + self.drop_path(self.norm2(self.mlp(x)))


class _Branch(nn.Module):
    """norm -> the given layer, under the given name -> scale. (B, N, C) -> (B, N, C)."""

    def __init__(self, name: str, layer: nn.Module, cfg: Config):
        super().__init__()
        self.name = name
        self.norm = cfg.norm(cfg.dim)
        self.add_module(name, layer)
        self.ls = layer_scale(cfg.dim, cfg.layer_scale)

    def forward(self, x: Tensor, *where: Grid) -> Tensor:
        return self.ls(self.get_submodule(self.name)(self.norm(x), *where))


class ParallelPairsBlock(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    no_rollout: ClassVar[str] = (
        "each block adds up two attentions that read the same tokens, so there is no chain of layers to follow"
    )

    def __init__(self, index: int, drop_path: float, cfg: Config):
        super().__init__()
        hidden = int(cfg.dim * cfg.mlp_ratio)
        self.attns = nn.ModuleList(_Branch("attn", cfg.attention(index, cfg), cfg) for _ in range(2))
        self.ffns = nn.ModuleList(_Branch("mlp", cfg.mlp(cfg.dim, hidden), cfg) for _ in range(2))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid, last: bool = False) -> Tensor:
        if last:
            x = tap("cam", x, "NLC", grid)
        x = x + sum(self.drop_path(attn(x, grid)) for attn in self.attns)
        return x + sum(self.drop_path(ffn(x)) for ffn in self.ffns)


class _Joined(nn.Module):
    """One projection feeds attention and MLP of any kind. (B, N, C) -> (B, N, C)."""

    def __init__(self, drop_path: float, cfg: Config, bias: bool = True):
        super().__init__()
        dim, hidden = cfg.dim, int(cfg.dim * cfg.mlp_ratio)
        self.split = [hidden, dim, dim, dim]
        self.in_norm = cfg.norm(dim)
        self.in_proj = nn.Linear(dim, hidden + 3 * dim, bias=bias)
        self.mlp_bias = None if bias else nn.Parameter(torch.zeros(hidden))
        self.mlp_act = nn.GELU()
        self.ls = layer_scale(dim, cfg.layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid, last: bool = False) -> Tensor:
        y = self.in_norm(x)
        if last:
            y = tap("cam", y, "NLC", grid)
        mlp, q, k, v = self.in_proj(y).split(self.split, -1)
        if self.mlp_bias is not None:
            mlp = mlp + self.mlp_bias
        return x + self.drop_path(self.ls(self.merge(self.mix(q, k, v, grid), self.mlp_act(mlp))))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """(B, N, C) each -> (B, N, C)."""
        raise NotImplementedError

    def merge(self, mixed: Tensor, hidden: Tensor) -> Tensor:
        """(B, N, C), (B, N, hidden) -> (B, N, C)."""
        raise NotImplementedError


class ParallelBlock(_Joined):
    """Attention and MLP in parallel. (B, N, C) -> (B, N, C)."""

    def __init__(self, index: int, drop_path: float, cfg: Config, bias: bool = True, qk_norm: bool = False):
        super().__init__(drop_path, cfg, bias)
        self.num_heads = cfg.num_heads
        self.q_norm = cfg.norm(cfg.dim // cfg.num_heads) if qk_norm else nn.Identity()
        self.k_norm = cfg.norm(cfg.dim // cfg.num_heads) if qk_norm else nn.Identity()
        self.attn_out_proj = nn.Linear(cfg.dim, cfg.dim)
        self.mlp_out_proj = nn.Linear(self.split[0], cfg.dim)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, h, N, d)
        mixed = attention(self.q_norm(q), self.k_norm(k), v, layer=self, geometry=lambda: Geometry.dense(grid))
        return mixed.transpose(1, 2).flatten(2)

    def merge(self, mixed: Tensor, hidden: Tensor) -> Tensor:
        return self.attn_out_proj(mixed) + self.mlp_out_proj(hidden)


class Difference(nn.Module):
    """One softmax minus lambda times another. Two heads of half the width make one head.

    In deeper blocks lambda starts nearer 0.8. A base class, because checkpoints have its parameters in the layer.
    """

    def setup(self, index: int, dim: int, num_heads: int) -> None:
        half = dim // num_heads // 2
        self.num_heads = num_heads
        self.start = 0.8 - 0.6 * math.exp(-0.3 * index)
        self.lambda_q1, self.lambda_k1 = (nn.Parameter(torch.randn(half).mul_(0.1)) for _ in "qk")
        self.lambda_q2, self.lambda_k2 = (nn.Parameter(torch.randn(half).mul_(0.1)) for _ in "qk")
        self.sub_norm = RmsNorm(2 * half, eps=1e-5)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """(B, N, C) each -> (B, N, C)."""
        q, k = (t.unflatten(2, (2 * self.num_heads, -1)).transpose(1, 2) for t in (q, k))  # (B, 2h, N, d/2)
        v = v.unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # (B, h, N, d)
        # The published weights were trained with these two exponentials in float32 in any case.
        plus = (self.lambda_q1 * self.lambda_k1).sum().float().exp()
        minus = (self.lambda_q2 * self.lambda_k2).sum().float().exp()
        share = (plus - minus + self.start).to(q.dtype)

        def subtract(weights: Tensor) -> Tensor:
            return weights[:, 0::2] - share * weights[:, 1::2]

        def fused() -> Tensor:
            first, second = (F.scaled_dot_product_attention(q[:, i::2], k[:, i::2], v) for i in (0, 1))
            return first - share * second

        geometry = lambda: Geometry.dense(grid)  # noqa: E731
        x = attention(q, k, v, layer=self, geometry=geometry, mix_post=subtract, fused=fused)
        x = self.sub_norm(x) * (1 - self.start)
        return x.transpose(1, 2).flatten(2)


class DiffAttention(Difference):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, index: int, cfg: Config):
        super().__init__()
        self.qkv = nn.Linear(cfg.dim, 3 * cfg.dim)
        self.setup(index, cfg.dim, cfg.num_heads)
        self.proj = nn.Linear(cfg.dim, cfg.dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, 2)
        return self.proj(self.mix(q, k, v, grid))


class DiffParallelBlock(Difference, _Joined):
    """A difference and an MLP in parallel, and one output projection. (B, N, C) -> (B, N, C)."""

    def __init__(self, index: int, drop_path: float, cfg: Config):
        _Joined.__init__(self, drop_path, cfg)
        self.setup(index, cfg.dim, cfg.num_heads)
        self.out_proj = nn.Linear(sum(self.split[:2]), cfg.dim)

    def merge(self, mixed: Tensor, hidden: Tensor) -> Tensor:
        return self.out_proj(torch.cat([mixed, hidden], -1))


PAIRS = dict(depth=18, layer_scale=1e-5, block=ParallelPairsBlock)
POST_NORM = dict(attention=UNBIASED, layer_scale=1e-5, block=PostNormBlock, **(GAP | {"readout": "mean_norm"}))
PARALLEL = dict(
    embed=partial(PatchEmbed, bias=False),
    tokens=Tokens(places="patches", norm=True),
    norm=RmsNorm,
    block=partial(ParallelBlock, bias=False, qk_norm=True),
)

VARIANTS = {
    "vit_small_patch16_18x2_224": replace(SMALL, **PAIRS),
    "vit_base_patch16_18x2_224": replace(BASE, **PAIRS),
    "vit_base_patch16_rpn_224": replace(BASE, **POST_NORM),
    "vit_base_patch16_xp_224": replace(BASE, **PARALLEL),
    "vit_large_patch14_xp_224": replace(LARGE, patch=14, **PARALLEL),
    "vit_huge_patch14_xp_224": replace(HUGE, **PARALLEL),
}
register(ViT, VARIANTS)
