"""NaFlexViT: a ViT that takes every image in its own shape, and images of different shapes in one batch.

    images -> each in as many patches as the budget allows -> a linear layer -> + positions, resized to each grid
    -> blocks, in which no token reads padding -> mean of the patches, norm, fc; or one learned query reads them; or
    class token, fc

    model(preprocess_native([wide, tall], checkpoint))   from zoo.preprocess; or, as any family here, model(x)

NaFlex: Tschannen et al. 2025, "SigLIP 2", arXiv:2502.14786, which joins NaViT's packing of images of any aspect ratio
(Dehghani et al. 2023, arXiv:2307.06304; from it, positions as row plus column) to FlexiViT's choice of the sequence
length (Beyer et al. 2022, arXiv:2212.08013). The gap and map rows are timm's own, the siglip rows SigLIP 2's,
the radio rows C-RADIO's with its whole table of positions (zoo/families/radio.py).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from zoo import base
from zoo.base import Backbone
from zoo.layers.adapt import Layout
from zoo.layers.attention import AttentionPool, SelfAttention
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import patchify
from zoo.layers.head import classifier
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.layers.scale import layer_scale
from zoo.probe import Grid, tap
from zoo.registry import register

Patches = Mapping[str, Tensor]  # the result of zoo.preprocess.preprocess_native

PATCH = 16  # side of a patch, pixels
# How one table of positions is resized.
FILTERS: dict[str, dict[str, Any]] = {
    "bicubic": {"mode": "bicubic", "antialias": True},
    "bilinear": {"mode": "bilinear", "antialias": True},
    "sampled": {"mode": "bilinear"},
    "corners": {"mode": "bilinear", "align_corners": True},  # the first and the last position stay where they are
}


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one NaFlexViT from another."""

    dim: int = 768  # channels of a token
    depth: int = 12  # blocks
    num_heads: int = 12  # of attention
    img_size: int = 256  # side of the image for which the position table has a row a patch, pixels
    factorised: bool = False  # the sum of a table of rows and one of columns, not one table of positions
    keep_aspect: bool = False  # resize the table to the square around the grid, which keeps its aspect ratio
    filter: str = "bicubic"  # of FILTERS, for one table of positions; factorised ones are bilinear
    registers: int = 0  # tokens without a position that are never read out
    mlp_ratio: float = 4.0  # hidden width of the MLP over dim
    qkv_bias: bool = True  # of queries, keys and values
    act: Callable[[], nn.Module] = nn.GELU  # inside the MLP
    layer_scale: float | None = 1e-5  # initial scale of each branch
    readout: Literal["mean_norm", "attention_pool", "token"] = "mean_norm"  # of patches; one learned query; class token

    def mlp(self) -> Mlp:
        return Mlp(self.dim, int(self.dim * self.mlp_ratio), self.act)


class Embeds(nn.Module):
    """Patches to tokens with positions, after class token and registers. (B, 3, H, W) or Patches -> (B, N, C)."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.prefix, self.filter = cfg.registers + (cfg.readout == "token"), FILTERS[cfg.filter]
        self.factorised, self.keep_aspect = cfg.factorised, cfg.keep_aspect
        self.proj = nn.Linear(PATCH**2 * 3, cfg.dim)
        self.cls_token = _noise(1e-6, 1, 1, cfg.dim) if cfg.readout == "token" else None
        self.reg_token = _noise(1e-6, 1, cfg.registers, cfg.dim) if cfg.registers else None
        side = cfg.img_size // PATCH
        if cfg.factorised:
            self.pos_embed_y = _noise(0.02, 1, side, cfg.dim)
            self.pos_embed_x = _noise(0.02, 1, side, cfg.dim)
        else:
            self.pos_embed = _noise(0.02, 1, side, side, cfg.dim)

    def places(self, height: int, width: int) -> Tensor:
        """A vector for each position of a grid, by rows. (height * width, C)."""
        side = max(height, width)
        rows, columns = (side, side) if self.keep_aspect else (height, width)
        if self.factorised:
            y, x = _resize_line(self.pos_embed_y, rows), _resize_line(self.pos_embed_x, columns)
            return (y[:height, None] + x[:width]).flatten(0, 1)
        table = self.pos_embed
        if table.shape[1:3] != (height, width):
            resized = table.float().permute(0, 3, 1, 2)
            resized = F.interpolate(resized, (rows, columns), **self.filter)
            table = resized.permute(0, 2, 3, 1)[:, :height, :width].to(table.dtype)
        return table.flatten(0, 2)

    def forward(self, x: Tensor | Patches) -> tuple[Tensor, Grid, Tensor | None]:
        if isinstance(x, Tensor):
            grid, valid = Grid(self.prefix, x.shape[2] // PATCH, x.shape[3] // PATCH), None
            tokens = self.proj(patchify(x, PATCH)) + self.places(*grid.shape)
        else:
            tokens, grid, valid = self.embed_native(x["patches"], x["patch_coord"], x["patch_valid"])
        prefix = [token.expand(len(tokens), -1, -1) for token in (self.cls_token, self.reg_token) if token is not None]
        return torch.cat([*prefix, tokens], 1), grid, valid

    def embed_native(self, patches: Tensor, coord: Tensor, valid: Tensor) -> tuple[Tensor, Grid, Tensor | None]:
        """Make the patches' tokens; grid and `valid` include the tokens before them."""
        shapes = [(height, width) for height, width in (coord.amax(1) + 1).tolist()]
        places = {shape: self.places(*shape) for shape in set(shapes)}
        table = pad_sequence([places[shape] for shape in shapes], batch_first=True)[:, : patches.shape[1]]
        length = table.shape[1]  # the longest image's; a larger budget only adds padding
        x, valid = self.proj(patches[:, :length]) + table, valid[:, :length]
        alike = len(places) == 1 and len(places[shapes[0]]) == length
        grid = Grid(self.prefix, *(shapes[0] if alike else (1, length)))
        return x, grid, None if valid.all() else F.pad(valid, (self.prefix, 0), value=True)


class Block(nn.Module):
    """(B, N, C) -> (B, N, C). `last`: explanations should look at what its attention reads."""

    def __init__(self, drop_path: float, cfg: Config):
        super().__init__()
        self.norm1 = LayerNorm(cfg.dim)
        self.attn = SelfAttention(cfg.dim, cfg.num_heads, cfg.qkv_bias)
        self.ls1 = layer_scale(cfg.dim, cfg.layer_scale)
        self.norm2 = LayerNorm(cfg.dim)
        self.mlp = cfg.mlp()
        self.ls2 = layer_scale(cfg.dim, cfg.layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid, bias: Tensor | None, last: bool) -> Tensor:
        y = self.norm1(x)
        if last:
            y = tap("cam", y, "NLC", grid)
        x = x + self.drop_path(self.ls1(self.attn(y, grid, bias)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


# A plain ViT's file: the patch layer is a convolution, the position table (1, N, C) that of a square.
VIT = Layout(
    marker=r"^patch_embed\.",
    renamed=((r"^patch_embed\.", "embeds."), (r"^(pos_embed|cls_token|reg_token)$", r"embeds.\1")),
    reshaped={
        "embeds.proj.weight": lambda kernel: kernel.permute(0, 2, 3, 1).flatten(1),
        "embeds.pos_embed": lambda table: table.unflatten(1, (math.isqrt(table.shape[1]), -1)),
    },
)


class NaFlexViT(Backbone):
    """Image (B, 3, H, W) -> tokens (B, N, dim) -> logits (B, num_classes). Any H and W that 16 divides.

    Or, for images of different shapes, a dict of `patches` (B, N, 768), each image's by rows and then padding,
    `patch_coord` (B, N, 2), row and column, and `patch_valid` (B, N), False at padding. `patch_valid` may also be False
    at a patch of an image, which then stays hidden.
    """

    classifier_key = "head"
    layouts = (VIT,)

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes, self.img_size = cfg.dim, cfg.num_classes, cfg.img_size
        self.readout = cfg.readout
        self.embeds = Embeds(cfg)
        self.prefix = self.embeds.prefix
        (rates,) = drop_path_rates(cfg.drop_path, (cfg.depth,))
        self.blocks = nn.Sequential(*(Block(rate, cfg) for rate in rates))
        pools = cfg.readout == "attention_pool"
        self.norm = LayerNorm(cfg.dim) if pools else nn.Identity()
        self.attn_pool = AttentionPool(cfg.dim, cfg.num_heads, cfg.mlp(), LayerNorm) if pools else None
        self.fc_norm = LayerNorm(cfg.dim) if cfg.readout == "mean_norm" else nn.Identity()
        self.head_drop = nn.Dropout(cfg.drop)
        self.head = classifier(cfg.dim, cfg.num_classes)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and the rows of the position table."""
        fitted = super().fit(cfg, state_dict)
        table = state_dict.get("embeds.pos_embed_y" if cfg.factorised else "embeds.pos_embed")
        return fitted if table is None else fitted | {"img_size": table.shape[1] * PATCH}

    def encode(self, x: Tensor | Patches) -> tuple[Tensor, Grid, Tensor | None]:
        """Compute the tokens (B, N, dim) after the last norm, their grid, and which are valid (B, N); None: all.

        N is the longest image's. Images of different shapes share no grid: it is then one row of patches in the order
        given. `forward_head` needs all three, or it would take padding for patches.
        """
        tokens, grid, valid = self.embeds(x)
        bias, by_token = _hide(valid, tokens.dtype), self.readout == "token"
        for i, block in enumerate(self.blocks, 1):
            tokens = block(tokens, grid, bias, last=by_token and i == len(self.blocks))
            tokens = tap(f"stage{i}", tokens, "NLC", grid)
        tokens = self.norm(tokens)
        return (tokens if by_token else tap("cam", tokens, "NLC", grid)), grid, valid

    def forward_features(self, x: Tensor) -> Tensor:
        return self.encode(x)[0]

    def forward_head(
        self, x: Tensor, pre_logits: bool = False, grid: Grid | None = None, valid: Tensor | None = None
    ) -> Tensor:
        if self.attn_pool is not None:
            x = self.attn_pool(x, grid or Grid(self.prefix, 1, x.shape[1] - self.prefix), _hide(valid, x.dtype))
        elif self.readout == "token":
            x = x[:, 0]
        elif valid is None:
            x = x[:, self.prefix :].mean(1)
        else:
            shown = valid[:, self.prefix :, None]
            x = (x[:, self.prefix :] * shown).sum(1) / shown.sum(1).clamp(min=1)
        x = self.head_drop(self.fc_norm(x))
        return x if pre_logits else self.head(x)

    def read(self, tokens: Tensor, grid: Grid) -> Tensor:
        return self.forward_head(self.norm(tokens), grid=grid)

    def forward(self, x: Tensor | Patches) -> Tensor:
        tokens, grid, valid = self.encode(x)
        return self.forward_head(tokens, grid=grid, valid=valid)


def _hide(valid: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Make the bias that hides padding when added to the scores. (B, N) -> (B, 1, 1, N)."""
    if valid is None:
        return None
    # Not -inf: if an image is all padding, a softmax over -inf alone would be NaN.
    return torch.zeros_like(valid, dtype=dtype).masked_fill(~valid, torch.finfo(dtype).min)[:, None, None]


def _resize_line(table: Tensor, length: int) -> Tensor:
    """(1, N, C) -> (length, C), resized in float32 if the lengths differ."""
    if table.shape[1] == length:
        return table[0]
    return F.interpolate(table.float().transpose(1, 2), length, mode="linear")[0].T.to(table.dtype)


def _noise(std: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape).mul_(std))


GAP = Config(registers=4)
SO150M2 = Config(dim=832, depth=21, num_heads=13, registers=1, mlp_ratio=34 / 13, qkv_bias=False)
TANH = partial(nn.GELU, approximate="tanh")
SIGLIP = Config(filter="bilinear", act=TANH, layer_scale=None, readout="attention_pool", num_classes=0)
RADIO = Config(
    img_size=2048, keep_aspect=True, filter="sampled", registers=7, layer_scale=None, readout="token", num_classes=0
)
RADIO4 = replace(RADIO, registers=9)
HUGE = dict(dim=1280, depth=32, num_heads=16)

VARIANTS = {
    "naflexvit_base_patch16_gap": GAP,
    "naflexvit_base_patch16_par_gap": replace(GAP, keep_aspect=True),
    "naflexvit_base_patch16_parfac_gap": replace(GAP, keep_aspect=True, factorised=True),
    "naflexvit_base_patch16_map": replace(GAP, registers=1, readout="attention_pool"),
    "naflexvit_so150m2_patch16_reg1_gap": SO150M2,
    "naflexvit_so150m2_patch16_reg1_map": replace(SO150M2, readout="attention_pool"),
    "naflexvit_base_patch16_siglip": SIGLIP,
    "naflexvit_so400m_patch16_siglip": replace(SIGLIP, dim=1152, depth=27, num_heads=16, mlp_ratio=3.7362),
    "naflexvit_base_patch16_radio_v3": replace(RADIO, layer_scale=1e-5, filter="corners"),
    "naflexvit_large_patch16_radio_v3": replace(RADIO, dim=1024, depth=24, num_heads=16, layer_scale=1e-5),
    "naflexvit_huge_patch16_radio_v3": replace(RADIO, **HUGE, filter="corners"),
    "naflexvit_giant_patch16_radio_v3": replace(RADIO, dim=1536, depth=40, num_heads=24),
    "naflexvit_so400m_patch16_radio_v4": replace(RADIO4, dim=1152, depth=27, num_heads=16, mlp_ratio=4304 / 1152),
    "naflexvit_huge_patch16_radio_v4": replace(RADIO4, **HUGE),
}
register(NaFlexViT, VARIANTS)
