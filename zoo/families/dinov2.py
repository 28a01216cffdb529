"""DINOv2: a ViT that learned without labels and is known for the quality of its patch features.

A student sees crops and masked images and must agree with a running mean of itself. Oquab et al. 2023, "DINOv2:
Learning Robust Visual Features without Supervision", arXiv:2304.07193. The reg4 rows have four registers, spare tokens
that remove the outliers from the patch features: Darcet et al. 2023, arXiv:2309.16588. No classes: features.
"""

from dataclasses import replace
from functools import partial

from torch import Tensor

from zoo.families.vit import BASE, LARGE, SMALL, Config, Tokens, ViT
from zoo.layers.adapt import Layout
from zoo.layers.mlp import GluMlp
from zoo.registry import register

RENAMED = ((r"^register_tokens$", "reg_token"), (r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."))


class DinoV2(ViT):
    """A ViT that also reads the original files."""

    layouts = (*ViT.layouts, Layout(renamed=RENAMED))

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Read facebookresearch/dinov2's files too; with registers, add the class token's position to the token."""
        state = super().adapt(state_dict)
        if "register_tokens" in state_dict:
            class_place, state["pos_embed"] = state["pos_embed"].split((1, state["pos_embed"].shape[1] - 1), 1)
            state["cls_token"] = state["cls_token"] + class_place
        return state


DINOV2 = dict(patch=14, img_size=518, layer_scale=1e-5, num_classes=0)
REGISTERS = dict(tokens=Tokens(registers=4, places="patches"))
SWIGLU = partial(GluMlp, gate_first=True)
GIANT = Config(dim=1536, depth=40, num_heads=24, mlp_ratio=5.33334, mlp=SWIGLU)

VARIANTS = {
    "vit_small_patch14_dinov2": replace(SMALL, **DINOV2),
    "vit_small_patch14_reg4_dinov2": replace(SMALL, **DINOV2, **REGISTERS),
    "vit_base_patch14_dinov2": replace(BASE, **DINOV2),
    "vit_base_patch14_reg4_dinov2": replace(BASE, **DINOV2, **REGISTERS),
    "vit_large_patch14_dinov2": replace(LARGE, **DINOV2),
    "vit_large_patch14_reg4_dinov2": replace(LARGE, **DINOV2, **REGISTERS),
    "vit_giant_patch14_dinov2": replace(GIANT, **DINOV2),
    "vit_giant_patch14_reg4_dinov2": replace(GIANT, **DINOV2, **REGISTERS),
}
register(DinoV2, VARIANTS)
