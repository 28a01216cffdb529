"""C-RADIO: one ViT that learned the features of several foundation models at once.

    patches -> + positions -> class token and registers before them -> blocks -> class token, without a norm

Each teacher had a token of its own: the first is read out here, the others are registers. Heinrich et al. 2024,
"RADIOv2.5: Improved Baselines for Agglomerative Vision Foundation Models", arXiv:2412.07679; v4: arXiv:2601.17237. No
classes: features. zoo/families/naflexvit.py has the same weights with the large table of positions that they came with.
"""

from dataclasses import replace

from zoo.families.vit import BASE as VIT_BASE, Tokens, ViT
from zoo.registry import register

V3 = replace(VIT_BASE, img_size=512, tokens=Tokens(registers=7, places="patches"), readout="raw_token", num_classes=0)
V4 = replace(V3, tokens=Tokens(registers=9, places="patches"))
HUGE = dict(dim=1280, depth=32, num_heads=16)

VARIANTS = {
    "vit_base_patch16_radio_v3": replace(V3, layer_scale=1e-5),
    "vit_large_patch16_radio_v3": replace(V3, dim=1024, depth=24, num_heads=16, layer_scale=1e-5),
    "vit_huge_patch16_radio_v3": replace(V3, **HUGE),
    "vit_giant_patch16_radio_v3": replace(V3, dim=1536, depth=40, num_heads=24),
    "vit_so400m_patch16_radio_v4": replace(V4, dim=1152, depth=27, num_heads=16, mlp_ratio=4304 / 1152),
    "vit_huge_patch16_radio_v4": replace(V4, **HUGE),
}
register(ViT, VARIANTS)
