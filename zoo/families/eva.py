"""EVA: a plain ViT of a billion parameters that learned to predict CLIP's features of hidden patches.

    image -> patches -> + class token, + positions -> blocks -> mean of the patches -> norm -> fc
    block -> norm -> attention -> + shortcut -> norm -> MLP -> + shortcut

Keys have no bias: it would add the same to all scores of a query, which the softmax cancels. Fang et al. 2022, "EVA:
Exploring the Limits of Masked Visual Representation Learning at Scale", arXiv:2211.07636. The eva_large rows'
keys do have one; the clip row is the image encoder of EVA-CLIP, Sun et al. 2023, arXiv:2303.15389. Its heirs (EVA-02,
RoPE-ViT, PE, DINOv3) share this model, with rotary positions for queries and keys.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.families import vit
from zoo.families.vit import ViT
from zoo.layers.drop import DropPath
from zoo.layers.rotary import AxialRotary, CentredRotary, MixedRotary, Turns, rotary_turns
from zoo.layers.scale import gamma
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register


class Attention(nn.Module):
    """Every token reads every token. (B, N, C) -> (B, N, C).

    `biased` says which of queries, keys and values have a bias, `fused` whether one matrix makes all three; with
    `normed` there is a norm before the last linear layer.
    """

    def __init__(
        self,
        index: int,
        cfg: "Config",
        biased: Literal["qkv", "qv", ""] = "qv",
        fused: bool = True,
        normed: bool = False,
    ):
        super().__init__()
        dim, self.num_heads = cfg.dim, cfg.num_heads
        if fused:
            self.qkv = nn.Linear(dim, 3 * dim, bias=biased == "qkv")
        else:
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, dim, bias=part in biased) for part in "qkv")
        if fused and biased == "qv":
            self.q_bias, self.v_bias = (nn.Parameter(torch.zeros(dim)) for _ in "qv")
        self.fused, self.joined_bias = fused, fused and biased == "qv"
        self.norm = cfg.norm(dim) if normed else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def project(self, x: Tensor) -> Sequence[Tensor]:
        """Queries, keys, values. (B, N, C) -> 3 x (B, N, h, d)."""
        if not self.fused:
            parts = self.q_proj(x), self.k_proj(x), self.v_proj(x)
            return [part.unflatten(2, (self.num_heads, -1)) for part in parts]
        bias = self.qkv.bias
        if self.joined_bias:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return F.linear(x, self.qkv.weight, bias).unflatten(2, (3, self.num_heads, -1)).unbind(2)

    def bias(self, grid: Grid) -> Tensor | None:
        """What is added to the scores. -> (1, h, N, N)."""
        return None

    def forward(self, x: Tensor, grid: Grid, turns: Turns | None) -> Tensor:
        q, k, v = self.project(x)
        if turns is not None:
            q, k = turns.turn(q), turns.turn(k)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (B, h, N, d)
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.dense(grid), bias=self.bias(grid))
        return self.proj(self.norm(x.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """(B, N, C) -> (B, N, C). `last`: explanations should look at what its attention reads."""

    def __init__(self, index: int, drop_path: float, cfg: "Config", scale_mlp: bool = True):
        super().__init__()
        self.norm1 = cfg.norm(cfg.dim)
        self.attn = cfg.attention(index, cfg)
        self.norm2 = cfg.norm(cfg.dim)
        self.mlp = cfg.mlp(cfg.dim, int(cfg.dim * cfg.mlp_ratio))
        self.drop_path = DropPath(drop_path)
        self.gamma_1 = gamma(cfg.dim, cfg.layer_scale)
        self.gamma_2 = gamma(cfg.dim, cfg.layer_scale if scale_mlp else None)

    def add(self, x: Tensor, y: Tensor, gamma: Tensor | None) -> Tensor:
        y = self.drop_path(y)
        return x + y if gamma is None else torch.addcmul(x, y, gamma)

    def forward(self, x: Tensor, grid: Grid, turns: Turns | None, last: bool = False) -> Tensor:
        y = self.norm1(x)
        if last:
            y = tap("cam", y, "NLC", grid)
        x = self.add(x, self.attn(y, grid, turns), self.gamma_1)
        return self.add(x, self.mlp(self.norm2(x)), self.gamma_2)


@dataclass(frozen=True, kw_only=True)
class Config(vit.Config):
    """What tells one EVA, or one of its heirs, from another: a ViT's options and these."""

    attention: Callable[[int, Any], nn.Module] = Attention  # of (index of the block, cfg)
    rotary: AxialRotary | CentredRotary | Literal["learned"] | None = None  # rotate queries and keys by their positions
    block: Callable[[int, float, Any], nn.Module] = Block  # of (index, drop_path, cfg)


class Eva(ViT):
    """Image (B, 3, H, W) -> tokens (B, N, dim) -> logits (B, num_classes).

    Any H and W that the patch divides: the position table is resized to the grid, the rotations are made for it.
    """

    def __init__(self, cfg: Config):
        super().__init__(cfg)
        self.rotary, self.head_dim = cfg.rotary, cfg.dim // cfg.num_heads
        self.rope = MixedRotary(cfg.depth, cfg.num_heads, self.head_dim) if cfg.rotary == "learned" else None

    def turns(self, grid: Grid, x: Tensor) -> Sequence[Turns | None]:
        """How each block rotates its queries and keys."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        if self.rope is not None:
            return self.rope(grid, dtype)
        if self.rotary is None or isinstance(self.rotary, str):
            return [None] * len(self.blocks)
        return [rotary_turns(self.rotary, grid, self.head_dim, dtype, x.device)] * len(self.blocks)

    def extras(self, grid: Grid, x: Tensor) -> Sequence[tuple[Any, ...]]:
        return [(turns,) for turns in self.turns(grid, x)]


BIASED_KEYS = partial(Attention, biased="qkv")
LARGE = Config(dim=1024, depth=24, num_heads=16, patch=14, attention=BIASED_KEYS, readout="mean_norm")
GIANT = Config(dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11, patch=14, readout="mean_norm")

VARIANTS = {
    "eva_large_patch14_196": replace(LARGE, img_size=196),
    "eva_large_patch14_336": replace(LARGE, img_size=336),
    "eva_giant_patch14_224": GIANT,
    "eva_giant_patch14_336": replace(GIANT, img_size=336),
    "eva_giant_patch14_560": replace(GIANT, img_size=560),
    "eva_giant_patch14_clip_224": replace(GIANT, readout="token", num_classes=1024),
}
register(Eva, VARIANTS)
