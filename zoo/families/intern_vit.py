"""InternViT: the image encoder of InternVL, here the size of 300 million parameters, distilled from six billion.

A ViT whose class token is read without a norm. Chen et al. 2023, "InternVL: Scaling up Vision Foundation Models and
Aligning for Generic Visual-Linguistic Tasks", arXiv:2312.14238. No classes: features.
"""

from dataclasses import replace

from zoo.families.vit import LARGE, ViT
from zoo.registry import register

VARIANTS = {
    "vit_intern300m_patch14_448": replace(
        LARGE, patch=14, img_size=448, layer_scale=0.1, readout="raw_token", num_classes=0
    ),
}
register(ViT, VARIANTS)
