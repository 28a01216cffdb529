"""MobileCLIP's image encoders: FastViTs, and one ViT, that learned from captions, rewritten captions and teachers.

    mci0 to mci2 -> FastViT with gates at the start of stages 3 and 4
    mci3, mci4   -> FastViT with a fifth stage; the last two have attention, after layer norms
    vit          -> 4x4 patches -> norm -> 2x2 of them -> norm -> 2x2 of those, 16x16 pixels: the tokens of a ViT

The 512 or 768 outputs are not classes but the embedding space shared with text. Vasu et al. 2023, "MobileCLIP: Fast
Image-Text Models through Multi-Modal Reinforced Training", arXiv:2311.17049; mci3 and mci4: Faghri et al. 2025,
"MobileCLIP2: Improving Multi-Modal Reinforced Training", arXiv:2508.20691.
"""

from collections import OrderedDict
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from zoo.families import fastvit, vit
from zoo.families.fastvit import TOWER, FastViT
from zoo.families.vit import Tokens, ViT
from zoo.layers.adapt import Layout
from zoo.layers.conv import ConvNorm
from zoo.layers.norm import LayerNorm2d
from zoo.registry import register

# The ViT in Apple's own files.
APPLE = Layout(
    marker=r"^patch_emb\.",
    projection=r"^classifier\.proj$",
    renamed=(
        (r"^patch_emb\.", "patch_embed.backbone."),
        (r"block\.conv\.", "conv."),
        (r"block\.norm\.", "bn."),
        (r"^pos_embed\.pos_embed\.pos_embed$", "pos_embed"),
        (r"^post_transformer_norm\.", "norm."),
        (r"^transformer\.", "blocks."),
        (r"pre_norm_mha\.0\.", "norm1."),
        (r"pre_norm_mha\.1\.qkv_proj\.", "attn.qkv."),
        (r"pre_norm_mha\.1\.out_proj\.", "attn.proj."),
        (r"pre_norm_ffn\.0\.", "norm2."),
        (r"pre_norm_ffn\.1\.", "mlp.fc1."),
        (r"pre_norm_ffn\.4\.", "mlp.fc2."),
    ),
    reshaped={"pos_embed": lambda table: table.squeeze(0)},
)


class ConvStem(nn.Sequential):
    """Patches of 4x4, then 2x2 of those, twice. (B, 3, H, W) -> (B, dim, floor(H/16), floor(W/16))."""

    def __init__(self, dim: int):
        super().__init__(
            ConvNorm(3, dim // 4, 4, 4, act=nn.GELU),
            ConvNorm(dim // 4, dim // 4, 2, 2, act=nn.GELU),
            nn.Sequential(OrderedDict(conv=nn.Conv2d(dim // 4, dim, 2, 2))),
        )

    def forward(self, input: Tensor) -> Tensor:
        height, width = input.shape[2:]
        if min(height, width) < 16:
            raise ValueError(f"An image of {height}x{width} is less than one patch of 16x16: choose a larger image.")
        return super().forward(input)


def conv_stem(patch: int, dim: int) -> nn.Module:
    """Make patches of 16x16; `patch` is ignored. (B, 3, H, W) -> (B, dim, floor(H/16), floor(W/16))."""
    return nn.Sequential(OrderedDict(backbone=ConvStem(dim)))


class MobileClipViT(ViT):
    """A ViT that also reads Apple's own files."""

    layouts = (*ViT.layouts, TOWER, APPLE)


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
VIT = {"vit_base_mci_224": vit.Config(tokens=Tokens(places="patches"), embed=conv_stem, num_classes=512)}
VARIANTS = FASTVIT | VIT
register(FastViT, FASTVIT)
register(MobileClipViT, VIT)
