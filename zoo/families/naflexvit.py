"""NaFlexViT: a ViT that takes every picture in its own shape, and pictures of unlike shapes in one batch.

    pictures -> each by as many patches as the budget allows -> a linear layer -> + places, resized to each grid
    -> blocks, in which no token reads padding -> mean of the patches, norm, fc; or one learned query reads them

    model(preprocess_native([wide, tall], checkpoint))   from zoo.preprocess; or, as any family here, model(x)

NaFlex: Tschannen et al. 2025, "SigLIP 2", arXiv:2502.14786, which joins NaViT's packing of pictures of any aspect ratio
(Dehghani et al. 2023, arXiv:2307.06304; from it, places by row plus column) to FlexiViT's choice of the sequence length
(Beyer et al. 2022, arXiv:2212.08013). The gap and map rows are timm's own (Ross Wightman), the siglip rows SigLIP 2's.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from zoo.base import Backbone
from zoo.layers.attention import AttentionPool, SelfAttention
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.layers.scale import layer_scale
from zoo.preprocess import patchify
from zoo.probe import Grid, tap
from zoo.registry import register

Patches = Mapping[str, Tensor]  # what zoo.preprocess.preprocess_native gives


@dataclass(frozen=True)
class Config:
    """What tells one NaFlexViT from another."""

    dim: int = 768
    depth: int = 12  # blocks
    num_heads: int = 12
    patch: int = 16  # side of a patch, pixels
    table: int = 16  # rows, and columns, of the position table
    factorised: bool = False  # a table of rows and one of columns, which are added, for one of places
    keep_aspect: bool = False  # resize the table to the square around the grid, not to the grid: a step stays a step
    filter: Literal["bicubic", "bilinear"] = "bicubic"  # resizes a table of places; factorised ones are bilinear
    registers: int = 0  # tokens that hold no place and are never read out
    mlp_ratio: float = 4.0  # hidden width of the MLP over dim
    qkv_bias: bool = True
    act: Callable[[], nn.Module] = nn.GELU
    layer_scale: float | None = 1e-5  # how quietly each branch starts
    pool: Literal["mean", "map"] = "mean"  # read out the mean of the patches, then norm; or norm, then by attention
    num_classes: int = 1000
    drop_path: float = 0.0


class Embeds(nn.Module):
    """Patches to tokens in their places, the registers before them."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.patch, self.prefix, self.filter = cfg.patch, cfg.registers, cfg.filter
        self.factorised, self.keep_aspect = cfg.factorised, cfg.keep_aspect
        self.proj = nn.Linear(cfg.patch**2 * 3, cfg.dim)
        self.reg_token = _noise(1e-6, 1, cfg.registers, cfg.dim) if cfg.registers else None
        if cfg.factorised:
            self.pos_embed_y = _noise(0.02, 1, cfg.table, cfg.dim)
            self.pos_embed_x = _noise(0.02, 1, cfg.table, cfg.dim)
        else:
            self.pos_embed = _noise(0.02, 1, cfg.table, cfg.table, cfg.dim)

    def places(self, height: int, width: int) -> Tensor:
        """A vector for each place of a grid, by rows. (height * width, C)."""
        side = max(height, width)
        rows, columns = (side, side) if self.keep_aspect else (height, width)
        if self.factorised:
            y, x = _resize_line(self.pos_embed_y, rows), _resize_line(self.pos_embed_x, columns)
            return (y[:height, None] + x[:width]).flatten(0, 1)
        table = self.pos_embed
        if table.shape[1:3] != (height, width):
            resized = table.float().permute(0, 3, 1, 2)
            resized = F.interpolate(resized, (rows, columns), mode=self.filter, antialias=True)
            table = resized.permute(0, 2, 3, 1)[:, :height, :width].to(table.dtype)
        return table.flatten(0, 2)

    def forward(self, x: Tensor | Patches) -> tuple[Tensor, Grid, Tensor | None]:
        if isinstance(x, Tensor):
            grid, valid = Grid(self.prefix, x.shape[2] // self.patch, x.shape[3] // self.patch), None
            tokens = self.proj(patchify(x, self.patch)) + self.places(*grid.shape)
        else:
            tokens, grid, valid = self.embed_native(x["patches"], x["patch_coord"], x["patch_valid"])
        if self.reg_token is not None:
            tokens = torch.cat([self.reg_token.expand(len(tokens), -1, -1), tokens], 1)
        return tokens, grid, valid

    def embed_native(self, patches: Tensor, coord: Tensor, valid: Tensor) -> tuple[Tensor, Grid, Tensor | None]:
        """Give the patches' tokens; grid and `valid` count the registers that come before them."""
        shapes = [(height, width) for height, width in (coord.amax(1) + 1).tolist()]
        places = {shape: self.places(*shape) for shape in set(shapes)}
        table = pad_sequence([places[shape] for shape in shapes], batch_first=True)[:, : patches.shape[1]]
        length = table.shape[1]  # the longest picture's: all pad more where the budget is larger
        x, valid = self.proj(patches[:, :length]) + table, valid[:, :length]
        alike = len(places) == 1 and len(places[shapes[0]]) == length
        grid = Grid(self.prefix, *(shapes[0] if alike else (1, length)))
        return x, grid, None if valid.all() else F.pad(valid, (self.prefix, 0), value=True)


class Block(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, drop_path: float, cfg: Config):
        super().__init__()
        self.norm1 = LayerNorm(cfg.dim)
        self.attn = SelfAttention(cfg.dim, cfg.num_heads, cfg.qkv_bias)
        self.ls1 = layer_scale(cfg.dim, cfg.layer_scale)
        self.norm2 = LayerNorm(cfg.dim)
        self.mlp = Mlp(cfg.dim, int(cfg.dim * cfg.mlp_ratio), cfg.act)
        self.ls2 = layer_scale(cfg.dim, cfg.layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid, bias: Tensor | None) -> Tensor:
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x), grid, bias)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class NaFlexViT(Backbone):
    """Image (B, 3, H, W) -> tokens (B, N, dim) -> logits (B, num_classes). Any H and W that the patch divides.

    Or, for pictures of unlike shapes, a dict of `patches` (B, N, patch * patch * 3), each picture's by rows and then
    padding, `patch_coord` (B, N, 2), row and column, and `patch_valid` (B, N), False at padding. A patch of a picture
    may be False too: it is then left out of what the model sees.
    """

    classifier_key: ClassVar[str] = "head"

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dim, cfg.num_classes
        self.readout = "mean_norm" if cfg.pool == "mean" else "attention_pool"
        self.prefix = cfg.registers
        self.embeds = Embeds(cfg)
        (rates,) = drop_path_rates(cfg.drop_path, (cfg.depth,))
        self.blocks = nn.Sequential(*(Block(rate, cfg) for rate in rates))
        self.norm, self.attn_pool, self.fc_norm = nn.Identity(), None, nn.Identity()
        if cfg.pool == "map":
            mlp = Mlp(cfg.dim, int(cfg.dim * cfg.mlp_ratio), cfg.act)
            self.norm, self.attn_pool = LayerNorm(cfg.dim), AttentionPool(cfg.dim, cfg.num_heads, mlp, LayerNorm)
        else:
            self.fc_norm = LayerNorm(cfg.dim)
        self.head = classifier(cfg.dim, cfg.num_classes)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read off the number of classes and the rows of the position table."""
        fitted = super().fit(cfg, state_dict)
        table = state_dict.get("embeds.pos_embed_y" if cfg.factorised else "embeds.pos_embed")
        return fitted if table is None else fitted | {"table": table.shape[1]}

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Read a plain ViT's file too: its patch layer is a convolution, its position table, (1, N, C), a square's."""
        state = {}
        for key, value in super().adapt(state_dict).items():
            if key in ("pos_embed", "reg_token") or key.startswith("patch_embed."):
                key = f"embeds.{key.removeprefix('patch_embed.')}"
            if key == "embeds.pos_embed" and value.ndim == 3:
                value = value.unflatten(1, (math.isqrt(value.shape[1]), -1))
            elif key == "embeds.proj.weight" and value.ndim == 4:
                value = value.permute(0, 2, 3, 1).flatten(1)
            state[key] = value
        return state

    def encode(self, x: Tensor | Patches) -> tuple[Tensor, Grid, Tensor | None]:
        """Give the tokens (B, N, dim) behind the last norm, where they stand, and which are valid (B, N); None: all.

        N is the longest picture's. Pictures of unlike shapes share no grid: it is then one row of patches, in the order
        in which they came. `forward_head` wants all three, or it would take padding for patches.
        """
        tokens, grid, valid = self.embeds(x)
        bias = _hide(valid, tokens.dtype)
        for i, block in enumerate(self.blocks, 1):
            tokens = tap(f"stage{i}", block(tokens, grid, bias), "NLC", grid)
        return tap("cam", self.norm(tokens), "NLC", grid), grid, valid

    def forward_features(self, x: Tensor) -> Tensor:
        return self.encode(x)[0]

    def forward_head(
        self, x: Tensor, pre_logits: bool = False, grid: Grid | None = None, valid: Tensor | None = None
    ) -> Tensor:
        if self.attn_pool is not None:
            x = self.attn_pool(x, grid or Grid(self.prefix, 1, x.shape[1] - self.prefix), _hide(valid, x.dtype))
        elif valid is None:
            x = x[:, self.prefix :].mean(1)
        else:
            shown = valid[:, self.prefix :, None]
            x = (x[:, self.prefix :] * shown).sum(1) / shown.sum(1).clamp(min=1)
        x = self.fc_norm(x)
        return x if pre_logits else self.head(x)

    def read(self, tokens: Tensor, grid: Grid) -> Tensor:
        return self.forward_head(self.norm(tokens), grid=grid)

    def forward(self, x: Tensor | Patches) -> Tensor:
        tokens, grid, valid = self.encode(x)
        return self.forward_head(tokens, grid=grid, valid=valid)


def _hide(valid: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Make what, added to the scores, keeps padding from being read. (B, N) -> (B, 1, 1, N)."""
    if valid is None:
        return None
    # Not -inf: where a picture is nothing but padding, a softmax over -inf alone would be no number.
    return torch.zeros_like(valid, dtype=dtype).masked_fill(~valid, torch.finfo(dtype).min)[:, None, None]


def _resize_line(table: Tensor, length: int) -> Tensor:
    """(1, N, C) -> (length, C), in float32 where that is another length."""
    if table.shape[1] == length:
        return table[0]
    return F.interpolate(table.float().transpose(1, 2), length, mode="linear")[0].T.to(table.dtype)


def _noise(std: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * std)


GAP = Config(registers=4)
SO150M2 = Config(832, 21, 13, registers=1, mlp_ratio=34 / 13, qkv_bias=False)
TANH = partial(nn.GELU, approximate="tanh")
SIGLIP = Config(filter="bilinear", act=TANH, layer_scale=None, pool="map", num_classes=0)

VARIANTS = {
    "naflexvit_base_patch16_gap": GAP,
    "naflexvit_base_patch16_par_gap": replace(GAP, keep_aspect=True),
    "naflexvit_base_patch16_parfac_gap": replace(GAP, keep_aspect=True, factorised=True),
    "naflexvit_base_patch16_map": replace(GAP, registers=1, pool="map"),
    "naflexvit_so150m2_patch16_reg1_gap": SO150M2,
    "naflexvit_so150m2_patch16_reg1_map": replace(SO150M2, pool="map"),
    "naflexvit_base_patch16_siglip": SIGLIP,
    "naflexvit_so400m_patch16_siglip": replace(SIGLIP, dim=1152, depth=27, num_heads=16, mlp_ratio=3.7362),
}
register(NaFlexViT, VARIANTS)
