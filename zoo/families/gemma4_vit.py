"""Gemma 4 ViT: the image encoder of Gemma 4, with a norm before and after each part and gated MLPs.

    image -> patches of 16x16 -> + a vector of the column and one of the row -> blocks
    -> (mean of each 3x3 tokens, scaled) -> mean -> norm -> fc
    block -> norm -> attention -> norm -> + shortcut -> norm -> gated MLP -> norm -> + shortcut

All norms divide by the root mean square. In attention they make queries, keys and values of one length, whose products
are not scaled; column and row then rotate queries and keys. Gemma team 2026, "Gemma 4 Technical Report",
arXiv:2607.02770. An enc row, which has no classes, gives the tokens that the language model reads.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.families.qwen3_vit import Classifier, Tower
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import check_patches, patchify
from zoo.layers.init import init_linear
from zoo.layers.norm import PlainRmsNorm, RmsNorm
from zoo.layers.rotary import QuartersRotary, Turns
from zoo.probe import Geometry, Grid, attention
from zoo.registry import register

PATCH, POOLED = 16, 3  # side of a patch in pixels, of what becomes one token in patches
PLACES = 10_240  # columns, and rows, that have a vector


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one Gemma 4 ViT from another."""

    dim: int = 768  # channels of a token
    depth: int = 16  # blocks
    num_heads: int = 12  # of attention
    hidden: int = 3072  # width of the MLP
    num_classes: int = 0  # as in zoo/base.py
    clipped: bool = True  # what enters and leaves a linear layer of a block is kept between learned bounds
    standardised: bool = False  # tokens for the language model have a learned shift and scale
    pooled: bool = False  # the tokens for the language model are read, not those of the blocks


class Clipped(nn.Module):
    """A linear layer, whose inputs and outputs may be kept between bounds. (B, N, dim_in) -> (B, N, dim)."""

    input_min: Tensor
    input_max: Tensor
    output_min: Tensor
    output_max: Tensor

    def __init__(self, dim_in: int, dim: int, clipped: bool):
        super().__init__()
        self.clipped = clipped
        self.linear = nn.Linear(dim_in, dim, bias=False)
        if clipped:
            for name, bound in (("min", -torch.inf), ("max", torch.inf)):
                self.register_buffer(f"input_{name}", torch.full((), bound))
                self.register_buffer(f"output_{name}", torch.full((), bound))

    def forward(self, x: Tensor) -> Tensor:
        if not self.clipped:
            return self.linear(x)
        return self.linear(x.clamp(self.input_min, self.input_max)).clamp(self.output_min, self.output_max)


class Attention(nn.Module):
    """Every token reads every token. (B, N, C) -> (B, N, C)."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_heads = cfg.num_heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (Clipped(cfg.dim, cfg.dim, cfg.clipped) for _ in "qkvo")
        self.q_norm, self.k_norm = (RmsNorm(cfg.dim // cfg.num_heads) for _ in "qk")
        self.v_norm = PlainRmsNorm()

    def forward(self, x: Tensor, grid: Grid, turns: Turns) -> Tensor:
        parts = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q, k, v = (part.unflatten(2, (self.num_heads, -1)) for part in parts)  # (B, N, h, d)
        q, k, v = turns.turn(self.q_norm(q)), turns.turn(self.k_norm(k)), self.v_norm(v)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.dense(grid), scale=1.0)
        return self.o_proj(x.transpose(1, 2).flatten(2))


class GatedMlp(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.gate_proj, self.up_proj = (Clipped(cfg.dim, cfg.hidden, cfg.clipped) for _ in range(2))
        self.act = nn.GELU(approximate="tanh")
        self.down_proj = Clipped(cfg.hidden, cfg.dim, cfg.clipped)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, drop_path: float, cfg: Config):
        super().__init__()
        self.norm1, self.attn, self.norm2 = RmsNorm(cfg.dim), Attention(cfg), RmsNorm(cfg.dim)
        self.norm3, self.mlp, self.norm4 = RmsNorm(cfg.dim), GatedMlp(cfg), RmsNorm(cfg.dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid, turns: Turns) -> Tensor:
        x = x + self.drop_path(self.norm2(self.attn(self.norm1(x), grid, turns)))
        return x + self.drop_path(self.norm4(self.mlp(self.norm3(x))))


class Patches(nn.Module):
    """Patches with positions; pixels are between 0 and 1. (B, 3, H, W) -> (B, N, dim)."""

    def __init__(self, dim: int):
        super().__init__()
        self.input_proj = nn.Linear(3 * PATCH**2, dim, bias=False)
        table = torch.empty(2, PLACES, dim)  # columns, rows
        self.position_embedding_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        height, width = (side // PATCH for side in x.shape[2:])
        x = patchify(2 * x - 1, PATCH).unflatten(2, (-1, 3)).transpose(2, 3).flatten(2)  # a channel's pixels together
        columns, rows = self.position_embedding_table
        return self.input_proj(x) + (columns[:width] + rows[:height, None]).flatten(0, 1)


class Gemma4Encoder(Tower):
    """Image (B, 3, H, W) -> tokens (B, N, dim) -> logits (B, num_classes); without classes, the tokens.

    Any H and W that 16 divides, or 48 where tokens are pooled.
    """

    rotary = QuartersRotary(temperature=100.0, columns_first=True)
    std_bias: Tensor
    std_scale: Tensor

    def __init__(self, cfg: Config, inner: bool = False):
        super().__init__(cfg.dim, cfg.dim // cfg.num_heads, cfg, inner)
        self.pooled, self.standardised = cfg.pooled, cfg.standardised
        self.smallest = PATCH * POOLED if cfg.pooled else PATCH
        self.patch_embed = Patches(cfg.dim)
        (rates,) = drop_path_rates(cfg.drop_path, (cfg.depth,))
        self.blocks = nn.ModuleList(Block(rate, cfg) for rate in rates)
        if cfg.standardised:
            self.register_buffer("std_bias", torch.zeros(cfg.dim))
            self.register_buffer("std_scale", torch.ones(cfg.dim))
        self.apply(init_linear)

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        check_patches(x, self.smallest)
        return self.patch_embed(x), Grid(0, x.shape[2] // PATCH, x.shape[3] // PATCH)

    def project(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        if not self.pooled:
            return x, grid
        x = F.avg_pool2d(x.transpose(1, 2).unflatten(2, grid.shape), POOLED).flatten(2).transpose(1, 2)
        x = x * x.shape[2] ** 0.5
        x = (x - self.std_bias) * self.std_scale if self.standardised else x
        return x, Grid(0, grid.height // POOLED, grid.width // POOLED)


class Gemma4ViT(Classifier):
    """Image (B, 3, H, W) -> tokens (B, N, dim) -> mean -> norm -> logits (B, num_classes)."""

    tower = Gemma4Encoder

    def __init__(self, cfg: Config):
        super().__init__(cfg, PlainRmsNorm())


SMALL = Config()
LARGE = Config(dim=1152, depth=27, num_heads=16, hidden=4304, clipped=False, standardised=True)
enc = partial(replace, pooled=True)

CLASSIFIERS = {
    "gemma4_vit_167m": SMALL,
    "gemma4_vit_570m": LARGE,
}
ENCODERS = {
    "gemma4_vit_167m_enc": enc(SMALL),
    "gemma4_vit_570m_enc": enc(LARGE),
}
VARIANTS = CLASSIFIERS | ENCODERS
register(Gemma4ViT, CLASSIFIERS)
register(Gemma4Encoder, ENCODERS)
