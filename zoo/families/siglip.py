"""SigLIP's image encoder: CLIP's idea with a yes-or-no question for each pair of photo and sentence.

    patches -> + positions -> blocks -> norm -> one learned query reads the patches

There is no class token. The gap rows take the mean of the patches instead of the query. Zhai et al. 2023,
"Sigmoid Loss for Language Image Pre-Training", arXiv:2303.15343. The so400m width: Alabdulmohsin et al. 2023,
arXiv:2305.13035. 448 and 896 pixels: from PaliGemma, Beyer et al. 2024, arXiv:2407.07726. No classes: features.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from zoo.families.vit import BASE as VIT_BASE, LARGE as VIT_LARGE, Config, Pool, Tokens, ViT
from zoo.layers.embed import PatchEmbed
from zoo.layers.mlp import Mlp
from zoo.registry import register

TANH = partial(Mlp, act=partial(nn.GELU, approximate="tanh"))
NO_CLASS = Tokens(class_token=False)
RAGGED = partial(PatchEmbed, ragged=True)  # the patch does not divide the size
BASE = replace(VIT_BASE, tokens=NO_CLASS, readout=Pool(), num_classes=0)
LARGE = replace(VIT_LARGE, tokens=NO_CLASS, readout=Pool(), num_classes=0)
SO400M = Config(
    dim=1152, depth=27, num_heads=16, patch=14, mlp_ratio=3.7362, tokens=NO_CLASS, readout=Pool(), num_classes=0
)

VARIANTS = {
    "vit_base_patch16_siglip_224": BASE,
    "vit_base_patch16_siglip_256": replace(BASE, img_size=256),
    "vit_base_patch16_siglip_384": replace(BASE, img_size=384),
    "vit_base_patch16_siglip_512": replace(BASE, img_size=512),
    "vit_base_patch16_siglip_gap_224": replace(BASE, readout="norm_mean"),
    "vit_base_patch16_siglip_gap_256": replace(BASE, img_size=256, readout="norm_mean"),
    "vit_base_patch16_siglip_gap_384": replace(BASE, img_size=384, readout="norm_mean"),
    "vit_base_patch16_siglip_gap_512": replace(BASE, img_size=512, readout="norm_mean"),
    "vit_base_patch32_siglip_256": replace(BASE, patch=32, img_size=256, mlp=TANH),
    "vit_base_patch32_siglip_gap_256": replace(BASE, patch=32, img_size=256, mlp=TANH, readout="norm_mean"),
    "vit_large_patch16_siglip_256": replace(LARGE, img_size=256),
    "vit_large_patch16_siglip_384": replace(LARGE, img_size=384),
    "vit_large_patch16_siglip_512": replace(LARGE, img_size=512, mlp=TANH),
    "vit_large_patch16_siglip_gap_256": replace(LARGE, img_size=256, readout="norm_mean"),
    "vit_large_patch16_siglip_gap_384": replace(LARGE, img_size=384, readout="norm_mean"),
    "vit_large_patch16_siglip_gap_512": replace(LARGE, img_size=512, mlp=TANH, readout="norm_mean"),
    "vit_so400m_patch14_siglip_224": SO400M,
    "vit_so400m_patch14_siglip_378": replace(SO400M, img_size=378),
    "vit_so400m_patch14_siglip_384": replace(SO400M, img_size=384, embed=RAGGED),
    "vit_so400m_patch14_siglip_gap_224": replace(SO400M, readout="norm_mean"),
    "vit_so400m_patch14_siglip_gap_378": replace(SO400M, img_size=378, readout="norm_mean"),
    "vit_so400m_patch14_siglip_gap_384": replace(SO400M, img_size=384, readout="norm_mean", embed=RAGGED),
    "vit_so400m_patch14_siglip_gap_448": replace(SO400M, img_size=448, readout="norm_mean"),
    "vit_so400m_patch14_siglip_gap_896": replace(SO400M, img_size=896, readout="norm_mean"),
}
register(ViT, VARIANTS)
