"""Sapiens 2: a ViT trained on images of people, whose middle blocks have half as many keys and values as queries.

    block -> norm -> attention -> scale -> + shortcut -> norm -> SwiGLU -> + shortcut

Queries and keys are normed and rotated. In all blocks but the first and the last eight, two heads of queries share keys
and values. Khirodkar et al. 2026, "Sapiens2", arXiv:2604.21681. Images are upright, 1024x768. The class token is read
out. No classes: features.
"""

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from zoo.families.eva import Block, Config, Eva
from zoo.families.eva02 import fused_swiglu
from zoo.families.vit import Tokens
from zoo.layers.norm import RmsNorm
from zoo.layers.rotary import CentredRotary, Turns
from zoo.probe import Geometry, Grid, attention
from zoo.registry import register

ENDS = 8  # blocks at either end in which every head has its own keys and values


class GroupedAttention(nn.Module):
    """Every token reads every token. (B, N, C) -> (B, N, C)."""

    def __init__(self, index: int, cfg: Config):
        super().__init__()
        self.head_dim = cfg.dim // cfg.num_heads
        self.sharing = 2 if ENDS <= index < cfg.depth - ENDS else 1  # heads of queries for each of keys
        self.q_proj = nn.Linear(cfg.dim, cfg.dim)
        self.k_proj, self.v_proj = (nn.Linear(cfg.dim, cfg.dim // self.sharing) for _ in "kv")
        self.q_norm, self.k_norm = (cfg.norm(self.head_dim) for _ in "qk")
        self.proj = nn.Linear(cfg.dim, cfg.dim)

    def forward(self, x: Tensor, grid: Grid, turns: Turns) -> Tensor:
        q, k, v = (project(x).unflatten(2, (-1, self.head_dim)) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = turns.turn(self.q_norm(q)), turns.turn(self.k_norm(k))
        k, v = (t.repeat_interleave(self.sharing, 2) for t in (k, v))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (B, h, N, d)
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.dense(grid))
        return self.proj(x.transpose(1, 2).flatten(2))


BASE = Config(
    img_size=1024,
    attention=GroupedAttention,
    layer_scale=1.0,
    tokens=Tokens(registers=8, places=None),
    norm=RmsNorm,
    mlp=fused_swiglu,
    rotary=CentredRotary(),
    block=partial(Block, scale_mlp=False),
    num_classes=0,
)

VARIANTS = {
    "vit_base_patch16_sapiens2": BASE,
    "vit_large_patch16_sapiens2": replace(BASE, dim=1024, depth=24, num_heads=16),
    "vit_huge_patch16_sapiens2": replace(BASE, dim=1280, depth=32, num_heads=16),
    "vit_giant_patch16_sapiens2": replace(BASE, dim=1536, depth=40, num_heads=24),
    "vit_5b_patch16_sapiens2": replace(BASE, dim=2432, depth=56, num_heads=32),
}
register(Eva, VARIANTS)
