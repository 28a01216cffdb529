"""AIMv2: a ViT that learned by predicting, with a decoder, the image's next patch and then the words of its caption.

    image -> patches -> norm -> + positions -> blocks (SwiGLU, RMS norms, no biases) -> norm -> mean of the patches

Fini et al. 2024, "Multimodal Autoregressive Pre-training of Large Vision Encoders", arXiv:2411.14402. Here attention is
not causal and has no prefix mask: every patch reads every patch. No classes: features.
"""

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from zoo.families.vit import Config, Tokens, ViT
from zoo.layers.adapt import Layout
from zoo.layers.attention import SelfAttention
from zoo.layers.embed import PatchEmbed
from zoo.layers.mlp import SwiGlu
from zoo.layers.norm import RmsNorm, RmsNorm2d
from zoo.registry import register

# Apple's own files.
APPLE = Layout(
    marker=r"^preprocessor\.",
    renamed=(
        (r"^preprocessor\.patchifier\.", "patch_embed."),
        (r"^preprocessor\.pos_embed$", "pos_embed"),
        (r"^trunk\.post_trunk_norm\.", "norm."),
        (r"^trunk\.", ""),
        (r"norm_(\d)\.", r"norm\1."),
        (r"mlp\.fc1\.", "mlp.fc1_g."),
        (r"mlp\.fc3\.", "mlp.fc1_x."),
    ),
)


class NormedPatches(PatchEmbed):
    """(B, 3, H, W) -> (B, C, H/patch, W/patch)."""

    def __init__(self, patch: int, dim: int):
        super().__init__(patch, dim)
        self.norm = RmsNorm2d(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class AimV2(ViT):
    """A ViT that also reads Apple's own files."""

    layouts = (*ViT.layouts, APPLE)


class UnbiasedAttention(SelfAttention):
    """Every token reads every token. (B, N, C) -> (B, N, C)."""

    def __init__(self, index: int, cfg: Config):
        nn.Module.__init__(self)
        self.num_heads = cfg.num_heads
        self.qkv, self.proj = nn.Linear(cfg.dim, 3 * cfg.dim, bias=False), nn.Linear(cfg.dim, cfg.dim, bias=False)


LARGE = Config(
    dim=1024,
    depth=24,
    num_heads=8,
    patch=14,
    mlp_ratio=2.75,
    tokens=Tokens(class_token=False),
    readout="norm_mean",
    embed=NormedPatches,
    norm=partial(RmsNorm, eps=1e-5),
    attention=UnbiasedAttention,
    mlp=partial(SwiGlu, bias=False),
    num_classes=0,
)
HUGE = replace(LARGE, dim=1536, num_heads=12, mlp_ratio=2.6667)
BILLION = replace(LARGE, dim=2048, num_heads=16)
THREE_BILLION = replace(HUGE, dim=3072, num_heads=24)

VARIANTS = {
    "aimv2_large_patch14_224": LARGE,
    "aimv2_large_patch14_336": replace(LARGE, img_size=336),
    "aimv2_large_patch14_448": replace(LARGE, img_size=448),
    "aimv2_huge_patch14_224": HUGE,
    "aimv2_huge_patch14_336": replace(HUGE, img_size=336),
    "aimv2_huge_patch14_448": replace(HUGE, img_size=448),
    "aimv2_1b_patch14_224": BILLION,
    "aimv2_1b_patch14_336": replace(BILLION, img_size=336),
    "aimv2_1b_patch14_448": replace(BILLION, img_size=448),
    "aimv2_3b_patch14_224": THREE_BILLION,
    "aimv2_3b_patch14_336": replace(THREE_BILLION, img_size=336),
    "aimv2_3b_patch14_448": replace(THREE_BILLION, img_size=448),
}
register(AimV2, VARIANTS)
