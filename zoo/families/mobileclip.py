"""MobileCLIP's picture encoders: FastViTs, and one ViT, that learned from captions, rewritten captions and teachers.

    mci0 to mci2 -> FastViT with gates where stages 3 and 4 begin
    mci3, mci4   -> FastViT with a fifth stage; the last two attend, behind layer norms
    vit          -> 4x4 patches -> norm -> 2x2 of them -> norm -> 2x2 of those, 16x16 pixels: the tokens of a ViT

The 512 or 768 outputs are no classes but the space that words share. Vasu et al. 2023, "MobileCLIP: Fast Image-Text
Models through Multi-Modal Reinforced Training", arXiv:2311.17049; mci3 and mci4: Faghri et al. 2025, "MobileCLIP2:
Improving Multi-Modal Reinforced Training", arXiv:2508.20691.
"""

from collections import OrderedDict
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo.families import fastvit, vit
from zoo.families.fastvit import TOWER, FastViT
from zoo.families.vit import ViT
from zoo.layers.conv import ConvNorm
from zoo.layers.norm import LayerNorm2d
from zoo.registry import register

# From the names in Apple's own files to ours, one after the other.
RENAMED = (
    ("patch_emb.", "patch_embed.backbone."),
    ("block.conv.", "conv."),
    ("block.norm.", "bn."),
    ("pos_embed.pos_embed.pos_embed", "pos_embed"),
    ("post_transformer_norm.", "norm."),
    ("transformer.", "blocks."),
    ("pre_norm_mha.0.", "norm1."),
    ("pre_norm_mha.1.qkv_proj.", "attn.qkv."),
    ("pre_norm_mha.1.out_proj.", "attn.proj."),
    ("pre_norm_ffn.0.", "norm2."),
    ("pre_norm_ffn.1.", "mlp.fc1."),
    ("pre_norm_ffn.4.", "mlp.fc2."),
)


class ConvStem(nn.Sequential):
    """Patches of 4x4, then twice 2x2 of them at once. (B, 3, H, W) -> (B, dim, floor(H/16), floor(W/16))."""

    def __init__(self, dim: int):
        super().__init__(
            ConvNorm(3, dim // 4, 4, 4, act=nn.GELU),
            ConvNorm(dim // 4, dim // 4, 2, 2, act=nn.GELU),
            nn.Sequential(OrderedDict(conv=nn.Conv2d(dim // 4, dim, 2, 2))),
        )

    def forward(self, input: Tensor) -> Tensor:
        height, width = input.shape[2:]
        if min(height, width) < 16:
            raise ValueError(
                f"A picture of {height}x{width} is less than one patch of 16x16: show the model a larger picture."
            )
        return super().forward(input)


class MobileClipViT(ViT):
    """Image (B, 3, H, W) -> tokens (B, 1 + N, dim) -> what it says in words' space (B, num_classes).

    Any H and W of 16 or more: pixels at the right and at the bottom that fill no patch are not seen, and the position
    table is resized to the grid.
    """

    def __init__(self, cfg: vit.Config):
        super().__init__(cfg)
        self.patch_embed = nn.Sequential(OrderedDict(backbone=ConvStem(cfg.dim)))

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Read Apple's own files too, in which a text encoder lies beside this one."""
        tower = {k.removeprefix(TOWER): v for k, v in state_dict.items() if k.startswith(TOWER)}
        return _from_apple(tower) if tower else super().adapt(state_dict)


def _from_apple(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for key, value in state_dict.items():
        if key == "classifier.proj":  # (dim, classes), applied from the right and without a bias
            state["head.weight"], state["head.bias"] = value.T, torch.zeros(value.shape[1])
            continue
        for old, new in RENAMED:
            key = key.replace(old, new)
        state[key] = value.squeeze(0) if key == "pos_embed" else value
    return state


MCI0 = fastvit.Config((2, 6, 10, 2), mlp_ratio=3.0, attention_stages=1, down_act=True, down_gates=2, num_classes=512)
MCI3 = fastvit.Config(
    (2, 12, 24, 4, 2),
    (96, 192, 384, 768, 1536),
    attention_stages=2,
    norm=partial(LayerNorm2d, eps=1e-5),
    stem_scale=False,
    down_act=True,
    num_classes=768,
)

FASTVIT = {
    "fastvit_mci0": MCI0,
    "fastvit_mci1": replace(MCI0, depths=(4, 12, 20, 4)),
    "fastvit_mci2": replace(MCI0, depths=(4, 12, 24, 4), dims=(80, 160, 320, 640)),
    "fastvit_mci3": MCI3,
    "fastvit_mci4": replace(MCI3, depths=(2, 12, 24, 4, 4), dims=(128, 256, 512, 1024, 2048)),
}
VIT = {"vit_base_mci_224": vit.Config(place_prefix=False, num_classes=512)}
VARIANTS = FASTVIT | VIT
register(FastViT, FASTVIT)
register(MobileClipViT, VIT)
