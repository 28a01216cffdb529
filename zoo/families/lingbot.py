"""LingBot-Vision: a ViT of DINOv3's form, trained without labels for perception of space at every pixel.

Fu et al. 2026, "Vision Pretraining for Dense Spatial Perception", arXiv:2607.05247. The class token is read out. No
classes: features.
"""

from dataclasses import replace

from zoo.families.dinov3 import BASE as DINOV3, QKVB
from zoo.families.eva import Eva
from zoo.layers.mlp import SwiGlu
from zoo.registry import register

BASE = replace(DINOV3, img_size=512, readout="token")
GIANT = replace(BASE, dim=1536, depth=40, num_heads=24, mlp_ratio=8 / 3, mlp=SwiGlu)

VARIANTS = {
    "vit_small_patch16_lingbot": replace(BASE, dim=384, num_heads=6, **QKVB),
    "vit_base_patch16_lingbot": replace(BASE, **QKVB),
    "vit_large_patch16_lingbot": replace(BASE, dim=1024, depth=24, num_heads=16, **QKVB),
    "vit_giant_patch16_lingbot": GIANT,
}
register(Eva, VARIANTS)
