"""TNT: a transformer in a transformer: an inner one relates the parts of each patch, an outer one the patches.

    image -> 7x7 conv of stride 4 -> parts + their positions in a patch of 4x4 -> norm, linear, norm -> patches
    patches -> + class token, + positions -> blocks -> norm -> class token -> fc
    block -> parts: norm -> attention inside a patch -> + shortcut -> norm -> MLP -> + shortcut
          -> patches: + (norm -> linear -> norm) of their parts, then the same as ViT's block

Han et al. 2021, "Transformer in Transformer", arXiv:2103.00112. The conv sees one patch at a time; in the legacy row it
sees the whole image, and parts are normalised one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.adapt import Layout
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import check_patches, position_table, resize_positions
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.layers.windows import tiles
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

DEPTH = 12  # blocks
PATCH, STRIDE = 16, 4  # sides of a patch and of a part, pixels
SIDE = PATCH // STRIDE  # of a patch in parts
PARTS = SIDE * SIDE  # of a patch
HEAD_DIM, INNER_HEADS = 64, 4  # channels of a patch's head, and heads of a part
MLP_RATIO = 4  # hidden width of an MLP over its dim
EPS = 1e-5

AUTHORS = Layout(
    marker=r"^outer_pos$",
    unused=r"^outer_tokens$",
    renamed=(
        (r"^outer_pos", "patch_pos"),
        (r"^inner_pos", "pixel_pos"),
        (r"^patch_embed", "pixel_embed"),
        (r"proj_norm(\d)", r"norm\1_proj"),
        (r"inner_norm1", "norm_in"),
        (r"inner_norm2", "norm_mlp_in"),
        (r"inner_(attn|mlp)", r"\1_in"),
        (r"outer_norm1", "norm_out"),
        (r"outer_norm2", "norm_mlp"),
        (r"outer_attn", "attn_out"),
        (r"outer_mlp", "mlp"),
    ),
    reshaped={"pixel_pos": lambda t: t if t.ndim == 4 else t.transpose(1, 2).unflatten(2, (SIDE, SIDE))},
)


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one TNT from another."""

    dim: int = 384  # channels of a patch, and 16 times those of a part
    legacy: bool = False  # patches touch in the first conv, and their parts are normalised one by one
    img_size: int = 224  # side of the image that the position table was learned on, pixels


class Attention(nn.Module):
    """Tokens read each other, as the geometry says. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qk = nn.Linear(dim, 2 * dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, geometry: Callable[[], Geometry]) -> Tensor:
        q, k = self.qk(x).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        v = self.v(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        x = attention(q, k, v, layer=self, geometry=geometry)
        return self.proj(x.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Parts (B * N, PARTS, dim / 16) and patches (B, 1 + N, dim) -> the same. `last`: explanations should look here."""

    def __init__(self, drop_path: float, cfg: Config):
        super().__init__()
        dim, inner = cfg.dim, cfg.dim // 16
        self.legacy = cfg.legacy
        self.norm_in, self.attn_in = LayerNorm(inner, EPS), Attention(inner, INNER_HEADS)
        self.norm_mlp_in, self.mlp_in = LayerNorm(inner, EPS), Mlp(inner, MLP_RATIO * inner)
        self.norm1_proj = LayerNorm(inner if cfg.legacy else PARTS * inner, EPS)
        self.proj = nn.Linear(PARTS * inner, dim, bias=cfg.legacy)
        self.norm2_proj = nn.Identity() if cfg.legacy else LayerNorm(dim, EPS)
        self.norm_out, self.attn_out = LayerNorm(dim, EPS), Attention(dim, dim // HEAD_DIM)
        self.norm_mlp, self.mlp = LayerNorm(dim, EPS), Mlp(dim, MLP_RATIO * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, parts: Tensor, x: Tensor, grid: Grid, last: bool) -> tuple[Tensor, Tensor]:
        inside = tiles(SIDE * grid.height, SIDE * grid.width, (SIDE, SIDE), x.device)
        parts = parts + self.drop_path(self.attn_in(self.norm_in(parts), inside.geometry))
        parts = parts + self.drop_path(self.mlp_in(self.norm_mlp_in(parts)))
        joined = self.norm1_proj(parts if self.legacy else parts.flatten(1)).reshape(len(x), -1, self.proj.in_features)
        x = x + F.pad(self.norm2_proj(self.proj(joined)), (0, 0, 1, 0))
        y = self.norm_out(x)
        if last:
            y = tap("cam", y, "NLC", grid)
        x = x + self.drop_path(self.attn_out(y, lambda: Geometry.dense(grid)))
        return parts, x + self.drop_path(self.mlp(self.norm_mlp(x)))


class PartEmbed(nn.Module):
    """(B, 3, H, W) -> parts, patch by patch (B * N, PARTS, dim)."""

    def __init__(self, dim: int, legacy: bool):
        super().__init__()
        self.legacy = legacy
        self.proj = nn.Conv2d(3, dim, 7, STRIDE, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.legacy:
            x = self.proj(x).unflatten(3, (-1, SIDE)).unflatten(2, (-1, SIDE))  # (B, dim, rows, SIDE, columns, SIDE)
            return x.permute(0, 2, 4, 3, 5, 1).flatten(0, 2).flatten(1, 2)
        x = x.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        # A product, not a conv: as this sees parts of an image, a probe could not follow where its cells look.
        x = F.pad(x, (3, 0, 3, 0)).unfold(2, 7, STRIDE).unfold(3, 7, STRIDE)  # (B * N, 3, SIDE, SIDE, 7, 7)
        return F.linear(
            x.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2), self.proj.weight.flatten(1), self.proj.bias
        )


class TNT(Backbone):
    """Image (B, 3, H, W) -> tokens (B, 1 + N, dim) -> logits (B, num_classes).

    Any H and W that 16 divides: the position table is resized to the grid.
    """

    readout = "token"
    classifier_key = "head"
    no_rollout = "parts of patches and patches are two lists of tokens side by side, of which the first is read by both"
    layouts = (AUTHORS,)
    smallest = PATCH

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes, self.img_size = cfg.dim, cfg.num_classes, cfg.img_size
        inner, side = cfg.dim // 16, cfg.img_size // PATCH
        self.table_grid = side, side
        self.cls_token = position_table(1, cfg.dim)
        self.patch_pos = position_table(1 + side * side, cfg.dim)
        self.pixel_pos = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, inner, SIDE, SIDE), std=0.02))
        self.pixel_embed = PartEmbed(inner, cfg.legacy)
        self.norm1_proj = LayerNorm(PARTS * inner, EPS)
        self.proj = nn.Linear(PARTS * inner, cfg.dim)
        self.norm2_proj = LayerNorm(cfg.dim, EPS)
        (rates,) = drop_path_rates(cfg.drop_path, (DEPTH,))
        self.blocks = nn.ModuleList(Block(rate, cfg) for rate in rates)
        self.norm = LayerNorm(cfg.dim, EPS)
        self.head_drop = nn.Dropout(cfg.drop)
        self.head = classifier(cfg.dim, cfg.num_classes)
        self.apply(init_linear)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the position table, the (square) image's size."""
        fitted, table = super().fit(cfg, state_dict), state_dict.get("patch_pos")
        return fitted if table is None else fitted | {"img_size": round((table.shape[1] - 1) ** 0.5) * PATCH}

    def forward_features(self, x: Tensor) -> Tensor:
        check_patches(x, PATCH)
        grid = Grid(1, x.shape[2] // PATCH, x.shape[3] // PATCH)
        parts = self.pixel_embed(x) + self.pixel_pos.flatten(2).transpose(1, 2)
        x = self.norm2_proj(self.proj(self.norm1_proj(parts.reshape(len(x), -1, self.proj.in_features))))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        x = x + resize_positions(self.patch_pos, self.table_grid, grid.shape, prefix=1)
        for i, block in enumerate(self.blocks, 1):
            parts, x = block(parts, x, grid, last=i == len(self.blocks))
            x = tap(f"stage{i}", x, "NLC", grid)
        return self.norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(x[:, 0])
        return x if pre_logits else self.head(x)


VARIANTS = {
    "tnt_s_legacy_patch16_224": Config(legacy=True),
    "tnt_s_patch16_224": Config(),
    "tnt_b_patch16_224": Config(dim=640),
}
register(TNT, VARIANTS)
