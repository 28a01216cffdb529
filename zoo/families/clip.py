"""CLIP's image encoder: a ViT that learned from captions which photos and sentences belong together.

    patches (no bias) -> + positions -> norm -> blocks -> norm -> class token -> the embedding space shared with text

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020. The
512 to 1,280 outputs of some rows are not classes but that space. The quickgelu rows keep OpenAI's GELU.
"""

from dataclasses import replace
from functools import partial

from zoo.families.vit import Config, Tokens, ViT
from zoo.layers.act import QuickGelu
from zoo.layers.adapt import Layout
from zoo.layers.embed import PatchEmbed
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.registry import register

OPENAI = Layout(  # the file also holds a text encoder
    marker=r"^(module\.)?visual\.class_embedding$",
    under=r"(module\.)?visual\.",
    projection=r"^proj$",
    renamed=(
        (r"^conv1\.", "patch_embed.proj."),
        (r"^positional_embedding$", "pos_embed"),
        (r"^class_embedding$", "cls_token"),
        (r"^transformer\.resblocks\.", "blocks."),
        (r"^ln_pre\.", "norm_pre."),
        (r"^ln_post\.", "norm."),
        (r"\.ln_(\d)\.", r".norm\1."),
        (r"in_proj_", "qkv."),
        (r"out_proj\.", "proj."),
        (r"mlp\.c_fc\.", "mlp.fc1."),
        (r"mlp\.c_proj\.", "mlp.fc2."),
    ),
    reshaped={"cls_token": lambda token: token.view(1, 1, -1), "pos_embed": lambda table: table[None]},
)


class ClipViT(ViT):
    """A ViT that also reads the files of OpenAI and open_clip."""

    layouts = (*ViT.layouts, OPENAI)


QUICK = partial(Mlp, act=QuickGelu)
CLIP = Config(embed=partial(PatchEmbed, bias=False), tokens=Tokens(norm=True), norm=partial(LayerNorm, eps=1e-5))
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
