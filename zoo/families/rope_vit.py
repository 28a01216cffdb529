"""RoPE-ViT: queries and keys are turned by row and column, which carries over better to pictures of other sizes.

Axial rows turn half of each head's channels by the row and half by the column; in mixed rows every head of every block
learns how much either counts. The ape rows add learned places too. Heo et al. 2024, "Rotary Position Embedding for
Vision Transformer", arXiv:2403.13298. The reg_gap rows are timm's own (Ross Wightman): EVA-02's rotary positions,
register tokens, and the mean of the patches.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo.families.eva import Config, Eva
from zoo.layers.rotary import AxialRotary, MixedRotary, Turns
from zoo.probe import Grid
from zoo.registry import register


class MixedEva(Eva):
    """The model with learned turns."""

    def __init__(self, cfg: Config):
        super().__init__(cfg)
        self.rope = MixedRotary(cfg.depth, cfg.num_heads, self.head_dim)

    def turns(self, grid: Grid, x: Tensor) -> Sequence[Turns | None]:
        return self.rope(grid, torch.promote_types(x.dtype, torch.float32))


BASE = Config(k_bias=True, layer_scale=1e-5, place_table=False)
SMALL = replace(BASE, dim=384, num_heads=6)
LARGE = replace(BASE, dim=1024, depth=24, num_heads=16)
AXIAL = dict(rotary=AxialRotary(temperature=100.0, columns_first=True))
APE = dict(place_table=True, place_prefix=False)
GAP = Config(
    img_size=256,
    layer_scale=1e-5,
    class_token=False,
    registers=1,
    pool="mean",
    head_norm=True,
    rotary=AxialRotary(reference=16),
    place_table=False,
)

FIXED = {
    "vit_small_patch16_rope_224": replace(SMALL, **AXIAL),
    "vit_small_patch16_rope_ape_224": replace(SMALL, **AXIAL, **APE),
    "vit_base_patch16_rope_224": replace(BASE, **AXIAL),
    "vit_base_patch16_rope_ape_224": replace(BASE, **AXIAL, **APE),
    "vit_large_patch16_rope_224": replace(LARGE, **AXIAL),
    "vit_large_patch16_rope_ape_224": replace(LARGE, **AXIAL, **APE),
    "vit_medium_patch16_rope_reg1_gap_256": replace(GAP, dim=512, num_heads=8),
    "vit_mediumd_patch16_rope_reg1_gap_256": replace(GAP, dim=512, depth=20, num_heads=8, qkv_bias=False),
    "vit_betwixt_patch16_rope_reg4_gap_256": replace(GAP, dim=640, num_heads=10, registers=4),
    "vit_base_patch16_rope_reg1_gap_256": GAP,
}
LEARNED = {
    "vit_small_patch16_rope_mixed_224": SMALL,
    "vit_small_patch16_rope_mixed_ape_224": replace(SMALL, **APE),
    "vit_base_patch16_rope_mixed_224": BASE,
    "vit_base_patch16_rope_mixed_ape_224": replace(BASE, **APE),
    "vit_large_patch16_rope_mixed_224": LARGE,
    "vit_large_patch16_rope_mixed_ape_224": replace(LARGE, **APE),
}
VARIANTS = FIXED | LEARNED
register(Eva, FIXED)
register(MixedEva, LEARNED)
