"""Perception Encoder: a contrastive image-text ViT whose best features, in the middle, are tuned to move to the end.

    patches (no bias) -> + positions -> norm -> blocks, rotary positions -> norm -> attention pool -> text's space

The core rows learned from captions: their outputs are not classes but the embedding space shared with text. The lang
rows were tuned to be read by a language model and the spatial rows for dense tasks: these end without a norm, and the
mean of the patches is read out. Bolya et al. 2025, "Perception Encoder: The best visual embeddings are not at the
output of the network", arXiv:2504.13181.
"""

from dataclasses import replace
from functools import partial

from zoo.families.eva import BIASED_KEYS, Config, Eva
from zoo.families.vit import Pool, Tokens
from zoo.layers.embed import PatchEmbed
from zoo.layers.norm import LayerNorm
from zoo.layers.rotary import AxialRotary
from zoo.registry import register


def rotary(side: int, start: float = 1.0) -> AxialRotary:
    """Columns first, on a grid of side x side in training."""
    return AxialRotary(reference=side, start=start, columns_first=True)


PE = Config(
    embed=partial(PatchEmbed, bias=False),
    tokens=Tokens(norm=True),
    attention=BIASED_KEYS,
    norm=partial(LayerNorm, eps=1e-5),
)
TINY = dict(dim=192, num_heads=3)
SMALL = dict(dim=384, num_heads=6)
LARGE = dict(dim=1024, depth=24, num_heads=16, patch=14)
GIGANTIC = dict(dim=1536, depth=50, num_heads=16, mlp_ratio=35 / 6, patch=14)
G448 = dict(img_size=448, rotary=rotary(32, start=0.0), tokens=Tokens(class_token=False, norm=True), **GIGANTIC)

CORE = replace(PE, readout=Pool(prefix=True, num_heads=8, mlp_ratio=4.0))  # at any width
CORE384 = replace(CORE, img_size=384, rotary=rotary(24), num_classes=512)
TUNED = replace(PE, readout="mean", rotary=rotary(32), num_classes=0)
TUNED448 = replace(TUNED, img_size=448)
TUNED512 = replace(TUNED, img_size=512)

VARIANTS = {
    "vit_pe_core_tiny_patch16_384": replace(CORE384, **TINY),
    "vit_pe_core_small_patch16_384": replace(CORE384, **SMALL),
    "vit_pe_core_base_patch16_224": replace(CORE, rotary=rotary(14), num_classes=1024),
    "vit_pe_core_large_patch14_336": replace(CORE, img_size=336, rotary=rotary(24), num_classes=1024, **LARGE),
    "vit_pe_core_gigantic_patch14_448": replace(CORE, num_classes=1280, **G448),
    "vit_pe_lang_large_patch14_448": replace(TUNED448, layer_scale=0.1, **(LARGE | {"depth": 23})),
    "vit_pe_lang_gigantic_patch14_448": replace(TUNED, layer_scale=0.1, **(G448 | {"depth": 47})),
    "vit_pe_spatial_tiny_patch16_512": replace(TUNED512, **TINY),
    "vit_pe_spatial_small_patch16_512": replace(TUNED512, **SMALL),
    "vit_pe_spatial_base_patch16_512": TUNED512,
    "vit_pe_spatial_large_patch14_448": replace(TUNED448, **LARGE),
    "vit_pe_spatial_gigantic_patch14_448": replace(TUNED, layer_scale=0.1, **G448),
}
register(Eva, VARIANTS)
