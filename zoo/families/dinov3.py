"""DINOv3: DINOv2 grown to seven billion parameters and distilled to smaller models.

A Gram loss keeps the features of single patches sharp through long training. Positions run from -1 to 1 over an image
of any size and rotate queries and keys; four registers follow the class token; the plus, huge and 7b rows have SwiGLU.
Siméoni et al. 2025, "DINOv3", arXiv:2508.10104. The qkvb rows have biases on queries and values, which in the others
are all zero. The eupe checkpoints are distilled from several teachers: "Efficient Universal Perception Encoder", 2026,
arXiv:2603.22387. No classes: features, read out as the mean of the patches.
"""

from dataclasses import replace
from functools import partial

from zoo.families.eva import Attention, Config, Eva
from zoo.families.vit import Tokens
from zoo.layers.mlp import SwiGlu
from zoo.layers.norm import LayerNorm
from zoo.layers.rotary import CentredRotary
from zoo.registry import register

BASE = Config(
    img_size=256,
    attention=partial(Attention, biased=""),
    layer_scale=1e-5,
    tokens=Tokens(registers=4, places=None),
    readout="norm_mean",
    norm=partial(LayerNorm, eps=1e-5),
    rotary=CentredRotary(),
    num_classes=0,
)
TINY = replace(BASE, dim=192, num_heads=3)
SMALL = replace(BASE, dim=384, num_heads=6)
SMALL_PLUS = replace(SMALL, mlp=SwiGlu)
LARGE = replace(BASE, dim=1024, depth=24, num_heads=16)
HUGE_PLUS = replace(BASE, dim=1280, depth=32, num_heads=20, mlp=SwiGlu)
QKVB = dict(attention=Attention)

VARIANTS = {
    "vit_tiny_patch16_dinov3_qkvb": replace(TINY, **QKVB),
    "vit_small_patch16_dinov3": SMALL,
    "vit_small_patch16_dinov3_qkvb": replace(SMALL, **QKVB),
    "vit_small_plus_patch16_dinov3": SMALL_PLUS,
    "vit_small_plus_patch16_dinov3_qkvb": replace(SMALL_PLUS, **QKVB),
    "vit_base_patch16_dinov3": BASE,
    "vit_base_patch16_dinov3_qkvb": replace(BASE, **QKVB),
    "vit_large_patch16_dinov3": LARGE,
    "vit_large_patch16_dinov3_qkvb": replace(LARGE, **QKVB),
    "vit_huge_plus_patch16_dinov3": HUGE_PLUS,
    "vit_huge_plus_patch16_dinov3_qkvb": replace(HUGE_PLUS, **QKVB),
    "vit_7b_patch16_dinov3": replace(BASE, dim=4096, depth=40, num_heads=32, mlp_ratio=2, mlp=SwiGlu),
}
register(Eva, VARIANTS)
