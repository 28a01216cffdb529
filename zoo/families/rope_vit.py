"""RoPE-ViT: row and column rotate queries and keys, which generalises better to other image sizes.

Axial rows rotate half of each head's channels by the row and half by the column; in mixed rows every head of every
block learns how much each counts. The ape rows also add learned positions. Heo et al. 2024, "Rotary Position Embedding
for Vision Transformer", arXiv:2403.13298. The reg_gap rows are timm's own (Ross Wightman): EVA-02's rotary positions,
register tokens, and the mean of the patches.
"""

from dataclasses import replace
from functools import partial

from zoo.families.eva import BIASED_KEYS, Attention, Config, Eva
from zoo.families.vit import Tokens
from zoo.layers.rotary import AxialRotary
from zoo.registry import register

BASE = Config(attention=BIASED_KEYS, layer_scale=1e-5, tokens=Tokens(places=None))
SMALL = replace(BASE, dim=384, num_heads=6)
LARGE = replace(BASE, dim=1024, depth=24, num_heads=16)
AXIAL = dict(rotary=AxialRotary(temperature=100.0, columns_first=True))
APE = dict(tokens=Tokens(places="patches"))
REGISTER = Tokens(class_token=False, registers=1, places=None)
UNBIASED = partial(Attention, biased="")
GAP = Config(img_size=256, layer_scale=1e-5, tokens=REGISTER, readout="mean_norm", rotary=AxialRotary(reference=16))

VARIANTS = {
    "vit_small_patch16_rope_224": replace(SMALL, **AXIAL),
    "vit_small_patch16_rope_ape_224": replace(SMALL, **AXIAL, **APE),
    "vit_base_patch16_rope_224": replace(BASE, **AXIAL),
    "vit_base_patch16_rope_ape_224": replace(BASE, **AXIAL, **APE),
    "vit_large_patch16_rope_224": replace(LARGE, **AXIAL),
    "vit_large_patch16_rope_ape_224": replace(LARGE, **AXIAL, **APE),
    "vit_medium_patch16_rope_reg1_gap_256": replace(GAP, dim=512, num_heads=8),
    "vit_mediumd_patch16_rope_reg1_gap_256": replace(GAP, dim=512, depth=20, num_heads=8, attention=UNBIASED),
    "vit_betwixt_patch16_rope_reg4_gap_256": replace(GAP, dim=640, num_heads=10, tokens=replace(REGISTER, registers=4)),
    "vit_base_patch16_rope_reg1_gap_256": GAP,
    "vit_small_patch16_rope_mixed_224": replace(SMALL, rotary="learned"),
    "vit_small_patch16_rope_mixed_ape_224": replace(SMALL, rotary="learned", **APE),
    "vit_base_patch16_rope_mixed_224": replace(BASE, rotary="learned"),
    "vit_base_patch16_rope_mixed_ape_224": replace(BASE, rotary="learned", **APE),
    "vit_large_patch16_rope_mixed_224": replace(LARGE, rotary="learned"),
    "vit_large_patch16_rope_mixed_ape_224": replace(LARGE, rotary="learned", **APE),
}
register(Eva, VARIANTS)
