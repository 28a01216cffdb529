"""ViT with relative positions: tokens have no place of their own, but attention knows how far apart two of them are.

    image -> patches -> blocks, in which a small net reads a bias for each head off the offset of two patches
    -> mean of the patches, norm, fc; or norm, class token, fc

The class token has no position, so its scores get no bias. Relative positions: Shaw et al. 2018, arXiv:1803.02155;
a net of the offset's logarithm, and norms after the branches (rpn): Liu et al. 2021, "Swin Transformer V2",
arXiv:2111.09883. One net serves all blocks in the srelpos rows. The architectures are timm's own (Ross Wightman).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from zoo.families.vit import Config, Tokens, ViT
from zoo.families.vit_blocks import PostNormBlock
from zoo.layers.attention import SelfAttention
from zoo.layers.position_bias import NetBias
from zoo.probe import Grid
from zoo.registry import register


def with_prefix(bias: Tensor, grid: Grid) -> Tensor:
    """Give tokens without a position no bias. (h, H * W, H * W) -> (h, N, N)."""
    return F.pad(bias, (grid.prefix, 0, grid.prefix, 0))


class Attention(SelfAttention):
    """Every token reads every token, biased by their offset. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool, net: NetBias | None):
        super().__init__(dim, num_heads, qkv_bias)
        self.rel_pos = net

    def forward(self, x: Tensor, grid: Grid, bias: Tensor | None = None) -> Tensor:
        return super().forward(x, grid, bias if self.rel_pos is None else with_prefix(self.rel_pos(grid.shape), grid))


@dataclass(frozen=True)
class Relative:
    """Makes the attention of any block, and the net that it reads biases off."""

    hidden: int = 128  # width of the net
    shared: bool = False  # one net for all blocks
    qkv_bias: bool = False

    def net(self, cfg: Config) -> NetBias:
        return NetBias(0, cfg.num_heads, self.hidden)

    def __call__(self, index: int, cfg: Config) -> Attention:
        return Attention(cfg.dim, cfg.num_heads, self.qkv_bias, None if self.shared else self.net(cfg))


class RelPosViT(ViT):
    """Image (B, 3, H, W) -> tokens (B, N, dim) -> logits (B, num_classes). Any H and W that the patch divides."""

    def __init__(self, cfg: Config):
        super().__init__(cfg)
        relative = cfg.attention
        assert isinstance(relative, Relative)
        self.shared_rel_pos = relative.net(cfg) if relative.shared else None

    def extras(self, grid: Grid, x: Tensor) -> Sequence[tuple[Any, ...]]:
        if self.shared_rel_pos is None:
            return super().extras(grid, x)
        return [(with_prefix(self.shared_rel_pos(grid.shape), grid),)] * len(self.blocks)


PATCHES = Tokens(class_token=False, places=None)
BASE = Config(attention=Relative(), layer_scale=1e-6, tokens=PATCHES, readout="mean_norm")
MEDIUM = replace(BASE, dim=512, num_heads=8)
SMALL = replace(BASE, dim=384, num_heads=6)
PLUS = replace(BASE, dim=896, num_heads=14, attention=Relative(qkv_bias=True), readout="norm_mean")
RPN = dict(block=PostNormBlock, readout="norm_mean")
CLASS = Tokens(places=None)

VARIANTS = {
    "vit_relpos_small_patch16_224": SMALL,
    "vit_relpos_medium_patch16_224": MEDIUM,
    "vit_relpos_base_patch16_224": BASE,
    "vit_relpos_base_patch16_plus_240": replace(PLUS, img_size=240),
    "vit_srelpos_small_patch16_224": replace(SMALL, attention=Relative(384, shared=True), readout="norm_mean"),
    "vit_srelpos_medium_patch16_224": replace(MEDIUM, attention=Relative(512, shared=True), readout="norm_mean"),
    "vit_relpos_medium_patch16_cls_224": replace(MEDIUM, attention=Relative(256), tokens=CLASS, readout="token"),
    "vit_relpos_base_patch16_cls_224": replace(BASE, tokens=CLASS, readout="token"),
    "vit_relpos_base_patch16_clsgap_224": replace(BASE, tokens=CLASS),
    "vit_relpos_small_patch16_rpn_224": replace(SMALL, **RPN),
    "vit_relpos_medium_patch16_rpn_224": replace(MEDIUM, **RPN),
    "vit_relpos_base_patch16_rpn_224": replace(BASE, **RPN),
    "vit_relpos_base_patch32_plus_rpn_256": replace(PLUS, patch=32, img_size=256, **RPN),
    "test_vit_relpos": replace(BASE, dim=96, depth=9, num_heads=3, mlp_ratio=2, img_size=160),
}
register(RelPosViT, VARIANTS)
