"""TinyCLIP: a small CLIP that copies how a large one relates images to words and inherits its weights.

Wu et al. 2023, "TinyCLIP: CLIP Distillation via Affinity Mimicking and Weight Inheritance", arXiv:2309.12314. The 512
outputs are not classes but the embedding space shared with text.
"""

from dataclasses import replace

from zoo.families.clip import CLIP, ClipViT
from zoo.registry import register

MEDIUM = replace(CLIP, dim=512, num_heads=8, num_classes=512)

VARIANTS = {
    "vit_xsmall_patch16_clip_224": replace(MEDIUM, dim=256, depth=10, num_heads=4),
    "vit_medium_patch16_clip_224": MEDIUM,
    "vit_medium_patch32_clip_224": replace(MEDIUM, patch=32),
    "vit_betwixt_patch32_clip_224": replace(MEDIUM, dim=640, num_heads=10, patch=32),
}
register(ClipViT, VARIANTS)
