"""Qwen3 ViT: the image encoder of Qwen's models of images and text, whose patches know their places twice.

    image -> patches of 16x16 -> + positions, resized to the grid -> blocks -> (each 2x2 tokens merged by an MLP)
    -> mean -> norm -> fc
    block -> norm -> attention, queries and keys rotated by row and column -> + shortcut -> norm -> MLP -> + shortcut

Qwen team 2025, "Qwen3-VL Technical Report", arXiv:2511.21631. The merge and enc rows keep the MLP that makes tokens for
the language model; an enc row, which has no classes, gives these tokens. `Tower` and `Classifier` serve other encoders
of this kind.
"""

from dataclasses import dataclass, replace
from functools import partial
from math import isqrt
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.families import eva
from zoo.layers.drop import drop_path_rates
from zoo.layers.embed import PatchEmbed, check_patches, patchify, position_table
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, PlainLayerNorm
from zoo.layers.rotary import AxialRotary, HalvesRotary, rotary_turns
from zoo.probe import Grid, tap
from zoo.registry import register

PATCH, MERGED = 16, 2  # side of a patch in pixels, of what becomes one token in patches


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one Qwen3 ViT, or a tower with the same blocks, from another."""

    dim: int = 768  # channels of a token
    depth: int = 12  # blocks
    num_heads: int = 12  # of attention
    mlp_ratio: float = 4.0  # hidden width of the MLP over dim
    num_classes: int = 0  # as in zoo/base.py
    img_size: int | None = 768  # side of the image that the position table was learned on, pixels; None: no table
    projected: int | None = None  # channels of a token for the language model; None: the blocks' tokens are read


class Tower(Backbone):
    """Image (B, 3, H, W) -> tokens (B, N, num_features) -> logits (B, num_classes); without classes, the tokens.

    An heir makes `blocks`, from (tokens, grid, turns) to tokens, and says what stands before and after them. A tower
    that is `inner` is part of a Classifier, and has no head of its own.
    """

    readout = "mean"
    classifier_key = "head"
    rotary: ClassVar[AxialRotary] = HalvesRotary()
    blocks: nn.ModuleList

    def __init__(self, width: int, head_dim: int, cfg: base.Config, inner: bool):
        super().__init__()
        self.num_features, self.num_classes, self.head_dim = width, 0 if inner else cfg.num_classes, head_dim
        self.head_drop = nn.Identity() if inner else nn.Dropout(cfg.drop)
        self.head = classifier(width, self.num_classes)

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        """(B, 3, H, W) -> tokens (B, N, dim) for the first block, and their grid."""
        raise NotImplementedError

    def project(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Tokens (B, N, dim) of the last block -> those that are read (B, N', num_features), and their grid."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        x, grid = self.embed(x)
        dtype = torch.promote_types(x.dtype, torch.float32)
        turns = rotary_turns(self.rotary, grid, self.head_dim, dtype, x.device)
        for i, block in enumerate(self.blocks, 1):
            x = tap(f"stage{i}", block(x, grid, turns), "NLC", grid)
        x, grid = self.project(x, grid)
        return tap("cam", x, "NLC", grid)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if not self.num_classes:
            return x
        x = self.head_drop(x.mean(1))
        return x if pre_logits else self.head(x)

    def read(self, tokens: Tensor, grid: Grid) -> Tensor:
        return self.forward_head(self.project(tokens, grid)[0])


class Classifier(Backbone):
    """Image (B, 3, H, W) -> tokens (B, N, num_features) of a tower -> logits (B, num_classes)."""

    readout = "mean_norm"
    classifier_key = "head"
    tower: ClassVar[Any]  # its class

    def __init__(self, cfg: base.Config, norm: nn.Module):
        super().__init__()
        self.encoder: Tower = self.tower(cfg, inner=True)
        self.num_features, self.num_classes = self.encoder.num_features, cfg.num_classes
        self.img_size, self.smallest = self.encoder.img_size, self.encoder.smallest
        self.norm = norm
        self.head_drop = nn.Dropout(cfg.drop)
        self.head = classifier(self.num_features, cfg.num_classes)
        self.apply(init_linear)

    @classmethod
    def fit(cls, cfg: Any, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes, and what the tower reads from its own keys."""
        inner = {key.removeprefix("encoder."): value for key, value in state_dict.items() if key.startswith("encoder.")}
        return cls.tower.fit(cfg, inner) | super().fit(cfg, state_dict)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.encoder.forward_features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(self.norm(x.mean(1)))
        return x if pre_logits else self.head(x)

    def read(self, tokens: Tensor, grid: Grid) -> Tensor:
        return self.forward_head(self.encoder.project(tokens, grid)[0])


def blocks(cfg: Config, **parts: Any) -> nn.ModuleList:
    """Make EVA's blocks with the given parts."""
    kind = eva.Config(dim=cfg.dim, num_heads=cfg.num_heads, mlp_ratio=cfg.mlp_ratio, attention=eva.BIASED_KEYS, **parts)
    (rates,) = drop_path_rates(cfg.drop_path, (cfg.depth,))
    return nn.ModuleList(eva.Block(i, rate, kind) for i, rate in enumerate(rates))


class Merger(nn.Module):
    """norm -> 2x2 tokens side by side -> MLP. (B, N, dim) -> (B, N/4, out)."""

    def __init__(self, dim: int, out: int):
        super().__init__()
        self.norm = LayerNorm(dim)
        self.fc1 = nn.Linear(MERGED**2 * dim, MERGED**2 * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(MERGED**2 * dim, out)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = patchify(self.norm(x).transpose(1, 2).unflatten(2, grid.shape), MERGED)
        return self.fc2(self.act(self.fc1(x)))


class Qwen3Encoder(Tower):
    """Image (B, 3, H, W) -> tokens (B, N, num_features) -> logits (B, num_classes); without classes, the tokens.

    Any H and W that 16 divides, or 32 where tokens are merged.
    """

    def __init__(self, cfg: Config, inner: bool = False):
        super().__init__(cfg.projected or cfg.dim, cfg.dim // cfg.num_heads, cfg, inner)
        assert cfg.img_size is not None
        self.img_size, self.table_side = cfg.img_size, cfg.img_size // PATCH
        self.smallest = PATCH * MERGED if cfg.projected else PATCH
        self.patch_embed = PatchEmbed(PATCH, cfg.dim)
        self.pos_embed = position_table(self.table_side**2, cfg.dim)
        self.blocks = blocks(cfg, mlp=partial(Mlp, act=partial(nn.GELU, approximate="tanh")))
        self.merger = Merger(cfg.dim, cfg.projected) if cfg.projected else None
        self.apply(init_linear)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes, the size of the position table's image and the width of the language model."""
        fitted = super().fit(cfg, state_dict)
        if (table := state_dict.get("pos_embed")) is not None:
            fitted["img_size"] = isqrt(table.shape[1]) * PATCH
        if (last := state_dict.get("merger.fc2.weight")) is not None:
            fitted["projected"] = len(last)
        return fitted

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        check_patches(x, self.smallest)
        x = self.patch_embed(x)
        grid, table = Grid(0, *x.shape[2:]), self.pos_embed
        if grid.shape != (self.table_side, self.table_side):
            wide = table.to(torch.promote_types(table.dtype, torch.float32)).transpose(1, 2)
            wide = wide.unflatten(2, (self.table_side, self.table_side))
            wide = F.interpolate(wide, grid.shape, mode="bilinear", align_corners=True)
            table = wide.flatten(2).transpose(1, 2).to(table.dtype)
        return x.flatten(2).transpose(1, 2) + table, grid

    def project(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        if self.merger is None:
            return x, grid
        return self.merger(x, grid), Grid(0, grid.height // MERGED, grid.width // MERGED)


class Qwen3ViT(Classifier):
    """Image (B, 3, H, W) -> tokens (B, N, num_features) -> mean -> norm -> logits (B, num_classes)."""

    tower = Qwen3Encoder

    def __init__(self, cfg: Config):
        super().__init__(cfg, PlainLayerNorm(cfg.projected or cfg.dim))


SMALL = Config()
MEDIUM = Config(dim=1024, depth=24, num_heads=16)
LARGE = Config(dim=1152, depth=27, num_heads=16, mlp_ratio=4304 / 1152)

CLASSIFIERS = {
    "qwen3_vit_88m": SMALL,
    "qwen3_vit_88m_merge": replace(SMALL, projected=1024),
    "qwen3_vit_306m": MEDIUM,
    "qwen3_vit_306m_merge": replace(MEDIUM, projected=2048),
    "qwen3_vit_416m": LARGE,
    "qwen3_vit_416m_merge": replace(LARGE, projected=5120),
}
ENCODERS = {
    "qwen3_vit_88m_enc": replace(SMALL, projected=1024),
    "qwen3_vit_306m_enc": replace(MEDIUM, projected=2048),
    "qwen3_vit_416m_enc": replace(LARGE, projected=5120),
}
VARIANTS = CLASSIFIERS | ENCODERS
register(Qwen3ViT, CLASSIFIERS)
register(Qwen3Encoder, ENCODERS)
