"""BEiT v2: BEiT with visual words that stand for meaning, not for how pixels look.

A tokenizer distils CLIP's or DINO's patch features into a vocabulary. The model predicts the words of hidden patches, a
second time from the class token and early patches alone, so that the class token learns to summarise the image. Peng
et al. 2022, "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers", arXiv:2208.06366. The
architecture is BEiT's.
"""

from dataclasses import replace

from zoo.families.beit import BASE, LARGE, Beit
from zoo.registry import register

VARIANTS = {
    "beitv2_base_patch16_224": replace(BASE, layer_scale=1e-5),
    "beitv2_large_patch16_224": LARGE,
}
register(Beit, VARIANTS)
