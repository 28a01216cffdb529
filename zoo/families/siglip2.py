"""SigLIP 2: SigLIP's encoder, which also learned to caption, to localise, and to predict its own hidden patches.

These are the sizes that SigLIP did not have; the others are SigLIP's with new weights. Tschannen et al. 2025,
"SigLIP 2: Multilingual Vision-Language Encoders with Improved Semantic Understanding, Localization, and Dense
Features", arXiv:2502.14786. No classes: features.
"""

from dataclasses import replace

from zoo.families.siglip import SO400M as SIGLIP_SO400M, TANH
from zoo.families.vit import ViT
from zoo.registry import register

SO400M = replace(SIGLIP_SO400M, patch=16, mlp=TANH)
GIANTOPT = replace(SO400M, dim=1536, depth=40, mlp_ratio=4.0)

VARIANTS = {
    "vit_so400m_patch16_siglip_256": replace(SO400M, img_size=256),
    "vit_so400m_patch16_siglip_384": replace(SO400M, img_size=384),
    "vit_so400m_patch16_siglip_512": replace(SO400M, img_size=512),
    "vit_so400m_patch16_siglip_gap_256": replace(SO400M, img_size=256, readout="norm_mean"),
    "vit_so400m_patch16_siglip_gap_384": replace(SO400M, img_size=384, readout="norm_mean"),
    "vit_so400m_patch16_siglip_gap_512": replace(SO400M, img_size=512, readout="norm_mean"),
    "vit_giantopt_patch16_siglip_256": replace(GIANTOPT, img_size=256),
    "vit_giantopt_patch16_siglip_384": replace(GIANTOPT, img_size=384),
    "vit_giantopt_patch16_siglip_gap_256": replace(GIANTOPT, img_size=256, readout="norm_mean"),
    "vit_giantopt_patch16_siglip_gap_384": replace(GIANTOPT, img_size=384, readout="norm_mean"),
}
register(ViT, VARIANTS)
