"""Vision Transformer: an image is a sequence of patches, read by a plain transformer encoder.

    image -> patches of 16x16, a linear layer -> + class token, + positions -> blocks -> norm -> class token -> fc
    block -> norm -> attention (tokens read each other) -> + shortcut -> norm -> MLP (each on its own) -> + shortcut

Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", arXiv:2010.11929; trained well by Steiner et al. 2021 ("How to
train your ViT?", AugReg, arXiv:2106.10270). Mean pooling instead of the class token: Beyer et al. 2022,
arXiv:2205.01580. Attention pooling: Zhai et al. 2022, arXiv:2106.04560. Registers: Darcet et al. 2023,
arXiv:2309.16588. The _gap giants are I-JEPA's (Assran et al. 2023, arXiv:2301.08243). The test_ sizes are timm's own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.adapt import Layout
from zoo.layers.attention import AttentionPool, SelfAttention
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import PatchEmbed, position_table, resize_positions
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, RmsNorm
from zoo.layers.scale import layer_scale
from zoo.probe import Grid, tap
from zoo.registry import register


@dataclass(frozen=True)
class Tokens:
    """How patches become the list of tokens that the blocks read: which tokens come first, which get positions."""

    class_token: bool = True
    registers: int = 0  # tokens without a position that are never read out
    places: Literal["all", "patches"] | None = "all"  # which tokens have a row in the learned table of positions
    norm: bool = False  # norm before the first block


Readout = Literal["token", "raw_token", "norm_mean", "mean_norm", "mean"]  # as in zoo/base.py; raw: without a norm


@dataclass(frozen=True)
class Pool:
    """One learned query reads the tokens, instead of a class token."""

    prefix: bool = False  # the query also reads the tokens before the patches
    num_heads: int | None = None  # None: as in the blocks
    mlp_ratio: float | None = None  # None: as in the blocks

    def build(self, cfg: "Config") -> AttentionPool:
        mlp = cfg.mlp(cfg.dim, int(cfg.dim * (self.mlp_ratio or cfg.mlp_ratio)))
        return AttentionPool(cfg.dim, self.num_heads or cfg.num_heads, mlp, cfg.norm, skip_prefix=not self.prefix)


def self_attention(index: int, cfg: "Config", qkv_bias: bool = True) -> SelfAttention:
    """Make the attention of any block."""
    return SelfAttention(cfg.dim, cfg.num_heads, qkv_bias)


class Block(nn.Module):
    """(B, N, C) -> (B, N, C). `last`: explanations should look at what its attention reads, besides `more`."""

    def __init__(self, index: int, drop_path: float, cfg: "Config"):
        super().__init__()
        self.norm1 = cfg.norm(cfg.dim)
        self.attn = cfg.attention(index, cfg)
        self.ls1 = layer_scale(cfg.dim, cfg.layer_scale)
        self.norm2 = cfg.norm(cfg.dim)
        self.mlp = cfg.mlp(cfg.dim, int(cfg.dim * cfg.mlp_ratio))
        self.ls2 = layer_scale(cfg.dim, cfg.layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid, *more: Any, last: bool = False) -> Tensor:
        y = self.norm1(x)
        if last:
            y = tap("cam", y, "NLC", grid)
        x = x + self.drop_path(self.ls1(self.attn(y, grid, *more)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one ViT from another."""

    dim: int = 768  # channels of a token
    depth: int = 12  # blocks
    num_heads: int = 12  # of attention
    patch: int = 16  # side of a patch, pixels
    img_size: int = 224  # side of the image that the position table was learned on, pixels
    mlp_ratio: float = 4.0  # hidden width of the MLP over dim
    layer_scale: float | None = None  # initial scale of each branch
    tokens: Tokens = Tokens()  # class token, registers and positions
    readout: Readout | Pool = "token"  # what the last layer reads
    embed: Callable[[int, int], nn.Module] = PatchEmbed  # of (patch, dim)
    norm: Callable[[int], nn.Module] = LayerNorm  # given its channels
    attention: Callable[[int, Any], nn.Module] = self_attention  # of (index of the block, cfg)
    mlp: Callable[[int, int], nn.Module] = Mlp  # of (dim, hidden width)
    block: Callable[[int, float, Any], nn.Module] = Block  # of (index, drop_path, cfg)


class ViT(Backbone):
    """Image (B, 3, H, W) -> tokens (B, N, dim) -> logits (B, num_classes).

    Any H and W that the patch divides: the position table is resized to the grid.
    """

    classifier_key: ClassVar[str] = "head"
    # Masked training alone used these: the token for hidden patches, and MAE's decoder.
    layouts: ClassVar[tuple[Layout, ...]] = (Layout(unused=r"^mask_token$|^decoder_"),)

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes, self.img_size = cfg.dim, cfg.num_classes, cfg.img_size
        kind = "attention_pool" if isinstance(cfg.readout, Pool) else cfg.readout
        self.readout = "token" if kind == "raw_token" else kind
        self.prefix, self.placed_prefix = self.count_prefix(cfg), self.count_placed(cfg)
        side = self.table_side(cfg)
        self.table_grid = side, side
        self.patch_embed = cfg.embed(cfg.patch, cfg.dim)
        self.conv_stages = getattr(self.patch_embed, "stages", 0)  # tapped there; the blocks' taps continue the numbers
        self.cls_token = nn.Parameter(torch.zeros(1, 1, cfg.dim)) if cfg.tokens.class_token else None
        self.reg_token = nn.Parameter(torch.zeros(1, cfg.tokens.registers, cfg.dim)) if cfg.tokens.registers else None
        positions = self.placed_prefix + side * side
        self.pos_embed = position_table(positions, cfg.dim) if cfg.tokens.places else None
        self.norm_pre = cfg.norm(cfg.dim) if cfg.tokens.norm else nn.Identity()
        (rates,) = drop_path_rates(cfg.drop_path, (cfg.depth,))
        self.blocks = nn.Sequential(*(cfg.block(i, rate, cfg) for i, rate in enumerate(rates)))
        self.no_rollout = getattr(self.blocks[0], "no_rollout", None)
        self.norm = nn.Identity() if cfg.readout in ("raw_token", "mean", "mean_norm") else cfg.norm(cfg.dim)
        self.attn_pool = cfg.readout.build(cfg) if isinstance(cfg.readout, Pool) else None
        self.fc_norm = cfg.norm(cfg.dim) if cfg.readout == "mean_norm" else nn.Identity()
        self.head_drop = nn.Dropout(cfg.drop)
        self.head = classifier(cfg.dim, cfg.num_classes)
        self.apply(init_linear)

    @classmethod
    def count_prefix(cls, cfg: Config) -> int:
        """Count the tokens before the patches."""
        return cfg.tokens.class_token + cfg.tokens.registers

    @classmethod
    def count_placed(cls, cfg: Config) -> int:
        """Count those of them that have a row in the position table."""
        return cls.count_prefix(cfg) if cfg.tokens.places == "all" else 0

    @staticmethod
    def table_side(cfg: Config) -> int:
        """Rows, and columns, of patches in the position table."""
        return cfg.img_size // cfg.patch

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from a position table of another length, the (square) image's size."""
        fitted, table = super().fit(cfg, state_dict), state_dict.get("pos_embed")
        if table is not None and (patches := table.shape[1] - cls.count_placed(cfg)) != cls.table_side(cfg) ** 2:
            fitted["img_size"] = round(patches**0.5) * cfg.patch
        return fitted

    def prefix_tokens(self) -> list[Tensor]:
        return [token for token in (self.cls_token, self.reg_token) if token is not None]

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        """(B, 3, H, W) -> tokens with positions (B, N, dim), and their grid."""
        x = self.patch_embed(x)
        grid = Grid(self.prefix, *x.shape[2:])
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([*(token.expand(len(x), -1, -1) for token in self.prefix_tokens()), x], 1)
        if self.pos_embed is not None:
            positions = resize_positions(self.pos_embed, self.table_grid, grid.shape, self.placed_prefix)
            x = x + F.pad(positions, (0, 0, self.prefix - self.placed_prefix, 0))
        return self.norm_pre(x), grid

    def extras(self, grid: Grid, x: Tensor) -> Sequence[tuple[Any, ...]]:
        """What each block takes besides the tokens x and their grid."""
        return [()] * len(self.blocks)

    def encode(self, x: Tensor) -> tuple[Tensor, Grid]:
        """(B, 3, H, W) -> tokens (B, N, dim) after the last norm, and their grid."""
        x, grid = self.embed(x)
        by_token = self.readout == "token"
        for i, (block, more) in enumerate(zip(self.blocks, self.extras(grid, x), strict=True), 1):
            x = block(x, grid, *more, last=i == len(self.blocks) and by_token)
            x = tap(f"stage{self.conv_stages + i}", x, "NLC", grid)
        x = self.norm(x)
        return (x if by_token else tap("cam", x, "NLC", grid)), grid

    def forward_features(self, x: Tensor) -> Tensor:
        return self.encode(x)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False, grid: Grid | None = None) -> Tensor:
        if self.attn_pool is not None:
            x = self.attn_pool(x, grid or Grid(self.prefix, 1, x.shape[1] - self.prefix))
        else:
            x = x[:, 0] if self.readout == "token" else x[:, self.prefix :].mean(1)
        x = self.head_drop(self.fc_norm(x))
        return x if pre_logits else self.head(x)

    def read(self, tokens: Tensor, grid: Grid) -> Tensor:
        return self.forward_head(self.norm(tokens), grid=grid)

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        x, grid = self.encode(x)
        return self.forward_head(x, grid=grid)


UNBIASED = partial(self_attention, qkv_bias=False)
TINY = Config(dim=192, num_heads=3)
SMALL = Config(dim=384, num_heads=6)
BASE = Config()
LARGE = Config(dim=1024, depth=24, num_heads=16)
HUGE = Config(dim=1280, depth=32, num_heads=16, patch=14)
GIANT = Config(dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11, patch=14)
GIGANTIC = Config(dim=1664, depth=48, num_heads=16, mlp_ratio=64 / 13, patch=14)
GAP = dict(tokens=Tokens(class_token=False), readout="norm_mean")  # the mean of the patches, not a class token
CIFAR = Config(dim=128, depth=6, num_heads=4, patch=4, img_size=32, num_classes=10)
TEST = Config(dim=64, depth=6, num_heads=2, mlp_ratio=3, img_size=160)
REGISTER = Tokens(class_token=False, registers=1)
TEST2 = replace(TEST, depth=8, tokens=REGISTER, layer_scale=1e-5, readout="mean_norm")
TEST3 = replace(TEST2, dim=96, depth=9, num_heads=3)

VARIANTS = {
    "vit_tiny_patch16_224": TINY,
    "vit_tiny_patch16_384": replace(TINY, img_size=384),
    "vit_small_patch8_224": replace(SMALL, patch=8, num_classes=0),
    "vit_small_patch16_224": SMALL,
    "vit_small_patch16_384": replace(SMALL, img_size=384),
    "vit_small_patch32_224": replace(SMALL, patch=32),
    "vit_small_patch32_384": replace(SMALL, patch=32, img_size=384),
    "vit_small_patch16_36x1_224": replace(SMALL, depth=36, layer_scale=1e-5),
    "vit_base_patch8_224": replace(BASE, patch=8),
    "vit_base_patch16_224": BASE,
    "vit_base_patch16_224_miil": replace(BASE, attention=UNBIASED, num_classes=11221),
    "vit_base_patch16_384": replace(BASE, img_size=384),
    "vit_base_patch16_gap_224": replace(BASE, num_heads=16, **GAP),
    "vit_base_patch16_plus_240": replace(BASE, dim=896, num_heads=14, layer_scale=1e-5, img_size=240),
    "vit_base_patch32_224": replace(BASE, patch=32),
    "vit_base_patch32_384": replace(BASE, patch=32, img_size=384),
    "vit_base_patch32_plus_256": replace(BASE, dim=896, num_heads=14, layer_scale=1e-5, patch=32, img_size=256),
    "vit_large_patch14_224": replace(LARGE, patch=14),
    "vit_large_patch16_224": LARGE,
    "vit_large_patch16_384": replace(LARGE, img_size=384),
    "vit_large_patch32_224": replace(LARGE, patch=32, num_classes=0),
    "vit_large_patch32_384": replace(LARGE, patch=32, img_size=384),
    "vit_huge_patch14_224": replace(HUGE, num_classes=0),
    "vit_huge_patch14_gap_224": replace(HUGE, num_classes=0, **GAP),
    "vit_huge_patch16_gap_448": replace(HUGE, patch=16, img_size=448, num_classes=0, **GAP),
    "vit_giant_patch14_224": GIANT,
    "vit_giant_patch16_gap_224": replace(GIANT, patch=16, num_classes=0, **GAP),
    "vit_gigantic_patch14_224": GIGANTIC,
    "test_vit": TEST,
    "test_vit2": TEST2,
    "test_vit3": replace(TEST3, mlp_ratio=2, readout=Pool(prefix=True)),
    "test_vit4": replace(TEST3, norm=RmsNorm),
    "vit_cifar": CIFAR,
    "vit_gap_cifar": replace(CIFAR, **GAP),
}
register(ViT, VARIANTS)
