"""TIPSv2: an image encoder that learned from captions and by itself, so that its patches and words agree, too.

A ViT of DINOv2's kind with one register. "TIPSv2", 2026, arXiv:2604.12012. Its images are not normalised: pixels from 0
to 1. No classes: features.
"""

from dataclasses import replace

from zoo.families.dinov2 import GIANT, DinoV2
from zoo.families.vit import BASE, LARGE, Tokens
from zoo.registry import register

TIPS = dict(patch=14, img_size=448, layer_scale=1.0, tokens=Tokens(registers=1, places="patches"), num_classes=0)

VARIANTS = {
    "vit_base_patch14_reg1_tipsv2": replace(BASE, **TIPS),
    "vit_large_patch14_reg1_tipsv2": replace(LARGE, **TIPS),
    "vit_so400m_patch14_reg1_tipsv2": replace(BASE, dim=1152, depth=27, num_heads=16, mlp_ratio=4304 / 1152, **TIPS),
    "vit_giant_patch14_reg1_tipsv2": replace(GIANT, **TIPS),
}
register(DinoV2, VARIANTS)
