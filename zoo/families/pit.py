"""PiT: a vision transformer with the shape of a convolutional net: the grid shrinks and the channels grow on the way.

    image -> overlapping patches -> + positions -> + class token -> 3 stages of blocks -> norm -> class token -> fc
    stage -> grid halved and channels doubled by a depthwise conv, class token by a linear layer (not before the first)
             -> ViT's blocks

Heo et al. 2021, "Rethinking Spatial Dimensions of Vision Transformers", arXiv:2103.16302. The distilled rows have a
second token with its own head, as in DeiT (arXiv:2012.12877); the logits are the mean of both heads.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.families import vit
from zoo.layers.adapt import Layout
from zoo.layers.drop import drop_path_rates
from zoo.layers.embed import position_table, resize_position_map
from zoo.layers.head import classifier
from zoo.layers.norm import LayerNorm
from zoo.probe import Grid, tap
from zoo.registry import register


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one PiT from another."""

    head_dim: int = 48  # channels of a head
    depths: tuple[int, ...] = (2, 6, 4)  # blocks in each stage
    num_heads: tuple[int, ...] = (2, 4, 8)  # in each stage
    patch: int = 16  # side of a patch in pixels; the next one begins half a patch further on
    distilled: bool = False  # it has a second token, which learned from a teacher
    img_size: int = 224  # side of the image that the position table was learned on, pixels


class OverlappingPatches(nn.Module):
    """(B, 3, H, W) -> (B, C, H', W'): as many patches as lie inside the image, half a patch apart."""

    def __init__(self, patch: int, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(3, dim, patch, patch // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Pool(nn.Module):
    """Halve the grid and double the channels, each from one channel. (B, N, C) -> (B, N', 2 * C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, 2 * dim, 3, 2, 1, groups=dim)
        self.fc = nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        tokens, patches = x.tensor_split((grid.prefix,), 1)
        y = self.conv(patches.transpose(1, 2).unflatten(2, grid.shape))
        return torch.cat([self.fc(tokens), y.flatten(2).transpose(1, 2)], 1), Grid(grid.prefix, *y.shape[2:])


class Stage(nn.Module):
    """Pool (not before the first stage), then blocks. (B, N, C) -> (B, N', 2 * C). `last`: the last stage."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim = cfg.head_dim * cfg.num_heads[i]
        block = vit.Config(dim=dim, num_heads=cfg.num_heads[i])
        self.pool = Pool(dim // 2) if i else None
        self.blocks = nn.Sequential(*(vit.Block(j, rate, block) for j, rate in enumerate(drop_paths)))

    def forward(self, x: Tensor, grid: Grid, last: bool) -> tuple[Tensor, Grid]:
        if self.pool is not None:
            x, grid = self.pool(x, grid)
        for j, block in enumerate(self.blocks, 1):
            x = block(x, grid, last=last and j == len(self.blocks))
        return x, grid


class PiT(Backbone):
    """Image (B, 3, H, W) -> class tokens (B, 1 or 2, num_features) -> logits (B, num_classes).

    Any H and W of a patch or more: the position table is resized to the grid.
    """

    readout = "token"
    classifier_key = "head"
    layouts = (Layout(renamed=((r"^pools\.0\.", "transformers.1.pool."), (r"^pools\.1\.", "transformers.2.pool."))),)

    def __init__(self, cfg: Config):
        super().__init__()
        self.img_size, self.smallest, self.read_tokens = cfg.img_size, cfg.patch, 1 + cfg.distilled
        first, last = (cfg.head_dim * cfg.num_heads[i] for i in (0, -1))
        self.num_features, self.num_classes = last, cfg.num_classes
        side = (cfg.img_size - cfg.patch) // (cfg.patch // 2) + 1
        self.patch_embed = OverlappingPatches(cfg.patch, first)
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, first, side, side), std=0.02))
        self.cls_token = position_table(self.read_tokens, first)
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.transformers = nn.ModuleList(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates))
        self.norm = LayerNorm(last)
        self.head_drop = nn.Dropout(cfg.drop)
        self.head = classifier(last, cfg.num_classes)
        self.head_dist = classifier(last, cfg.num_classes) if cfg.distilled else None

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the position table, the (square) image's size."""
        fitted, table = super().fit(cfg, state_dict), state_dict.get("pos_embed")
        if table is None:
            return fitted
        return fitted | {"img_size": (table.shape[2] - 1) * (cfg.patch // 2) + cfg.patch}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        grid = Grid(self.read_tokens, *x.shape[2:])
        x = (x + resize_position_map(self.pos_embed, grid.shape)).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        for i, stage in enumerate(self.transformers, 1):
            x, grid = stage(x, grid, last=i == len(self.transformers))
            x = tap(f"stage{i}", x, "NLC", grid)
        return self.norm(x[:, : grid.prefix])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(x)
        if self.head_dist is None:
            return x[:, 0] if pre_logits else self.head(x[:, 0])
        return x.mean(1) if pre_logits else (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2


TI = Config(head_dim=32)
XS = Config()
S = Config(num_heads=(3, 6, 12))
B = Config(head_dim=64, depths=(3, 6, 4), num_heads=(4, 8, 16), patch=14)

VARIANTS = {
    "pit_ti_224": TI,
    "pit_xs_224": XS,
    "pit_s_224": S,
    "pit_b_224": B,
    "pit_ti_distilled_224": replace(TI, distilled=True),
    "pit_xs_distilled_224": replace(XS, distilled=True),
    "pit_s_distilled_224": replace(S, distilled=True),
    "pit_b_distilled_224": replace(B, distilled=True),
}
register(PiT, VARIANTS)
