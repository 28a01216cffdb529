"""CLIP's picture encoder: a ViT that learned from captions which pictures and sentences belong together.

    patches (no bias) -> + places -> norm -> blocks -> norm -> class token -> the space that words share

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020. Where
the last layer has 512 to 1,280 outputs, they are no classes but that space. The quickgelu rows keep OpenAI's GELU.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from zoo.families.vit import Config, ViT
from zoo.layers.act import QuickGelu
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.registry import register

RENAMED = (
    ("conv1.", "patch_embed.proj."),
    ("positional_embedding", "pos_embed"),
    ("class_embedding", "cls_token"),
    ("transformer.resblocks.", "blocks."),
    ("ln_pre", "norm_pre"),
    ("ln_post", "norm"),
    ("ln_", "norm"),
    ("in_proj_", "qkv."),
    ("out_proj", "proj"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
)


class ClipViT(ViT):
    """A ViT that also reads the files of OpenAI and open_clip, in which a text encoder lies beside it."""

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        for prefix in ("visual.", "module.visual."):
            if f"{prefix}class_embedding" in state_dict:
                return _from_openai({k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)})
        return super().adapt(state_dict)


def _from_openai(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for key, value in state_dict.items():
        if key == "proj":  # (dim, classes), applied from the right and without a bias
            state["head.weight"], state["head.bias"] = value.T, torch.zeros(value.shape[1])
            continue
        for old, new in RENAMED:
            key = key.replace(old, new)
        shape = {"cls_token": (1, 1, -1), "pos_embed": (1, *value.shape)}.get(key)
        state[key] = value.view(shape) if shape else value
    return state


QUICK = partial(Mlp, act=QuickGelu)
CLIP = Config(pre_norm=True, norm=partial(LayerNorm, eps=1e-5))
B32 = replace(CLIP, patch=32)
L14 = replace(CLIP, dim=1024, depth=24, num_heads=16, patch=14)
H14 = replace(CLIP, dim=1280, depth=32, num_heads=16, patch=14)
GIANT14 = replace(CLIP, dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11, patch=14, num_classes=1024)
GIGANTIC14 = replace(CLIP, dim=1664, depth=48, num_heads=16, mlp_ratio=64 / 13, patch=14, num_classes=1280)

VARIANTS = {
    "vit_base_patch32_clip_224": B32,
    "vit_base_patch32_clip_256": replace(B32, img_size=256, num_classes=512),
    "vit_base_patch32_clip_384": replace(B32, img_size=384),
    "vit_base_patch32_clip_448": replace(B32, img_size=448),
    "vit_base_patch32_clip_quickgelu_224": replace(B32, mlp=QUICK, num_classes=512),
    "vit_base_patch16_clip_224": CLIP,
    "vit_base_patch16_clip_384": replace(CLIP, img_size=384),
    "vit_base_patch16_clip_quickgelu_224": replace(CLIP, mlp=QUICK, num_classes=512),
    "vit_base_patch16_plus_clip_240": replace(CLIP, dim=896, num_heads=14, img_size=240, num_classes=640),
    "vit_large_patch14_clip_224": L14,
    "vit_large_patch14_clip_336": replace(L14, img_size=336),
    "vit_large_patch14_clip_quickgelu_224": replace(L14, mlp=QUICK, num_classes=768),
    "vit_large_patch14_clip_quickgelu_336": replace(L14, img_size=336, mlp=QUICK, num_classes=768),
    "vit_huge_patch14_clip_224": H14,
    "vit_huge_patch14_clip_336": replace(H14, img_size=336),
    "vit_huge_patch14_clip_378": replace(H14, img_size=378, num_classes=1024),
    "vit_huge_patch14_clip_quickgelu_224": replace(H14, mlp=QUICK, num_classes=1024),
    "vit_huge_patch14_clip_quickgelu_378": replace(H14, img_size=378, mlp=QUICK, num_classes=1024),
    "vit_giant_patch14_clip_224": GIANT14,
    "vit_gigantic_patch14_clip_224": GIGANTIC14,
    "vit_gigantic_patch14_clip_378": replace(GIGANTIC14, img_size=378),
    "vit_gigantic_patch14_clip_quickgelu_224": replace(GIGANTIC14, mlp=QUICK),
}
register(ClipViT, VARIANTS)
