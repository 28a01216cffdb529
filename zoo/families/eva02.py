"""EVA-02: EVA with newer transformer parts, as accurate with far fewer parameters.

It adds rotary positions to the learned ones, SwiGLU instead of the MLP, and from base on a norm inside it (in the clip
rows, inside the attention too). It learned to predict a stronger CLIP's features of hidden patches. Fang et al. 2023,
"EVA-02: A Visual Representation for Neon Genesis", arXiv:2303.11331. Grids of any size are stretched over the 16x16 of
training. The clip rows are image encoders: Sun et al. 2023, "EVA-CLIP", arXiv:2303.15389; the enormous one has norms
after its branches, a plain MLP and no rotary positions.
"""

from dataclasses import replace
from functools import partial

from torch import Tensor

from zoo.families.eva import Attention, Block, Config, Eva
from zoo.layers.mlp import GluMlp, SwiGlu
from zoo.layers.norm import LayerNorm
from zoo.layers.rotary import AxialRotary, Turns
from zoo.probe import Grid, tap
from zoo.registry import register


class PostNormBlock(Block):
    """Norms after the branches. (B, N, C) -> (B, N, C)."""

    def forward(self, x: Tensor, grid: Grid, turns: Turns | None, last: bool = False) -> Tensor:
        if last:
            x = tap("cam", x, "NLC", grid)
        x = x + self.drop_path(self.norm1(self.attn(x, grid, turns)))
        return x + self.drop_path(self.norm2(self.mlp(x)))


def fused_swiglu(dim: int, hidden: int) -> GluMlp:
    """One matrix for gate and values. (..., C) -> (..., C)."""
    return GluMlp(dim, 2 * hidden, gate_first=True)


EVA02 = Config(patch=14, mlp_ratio=8 / 3, mlp=fused_swiglu, rotary=AxialRotary(reference=16), readout="mean_norm")
TINY = replace(EVA02, dim=192, num_heads=3)
SMALL = replace(EVA02, dim=384, num_heads=6)
BASE = replace(EVA02, attention=partial(Attention, fused=False), mlp=partial(SwiGlu, norm=LayerNorm))
LARGE = replace(BASE, dim=1024, depth=24, num_heads=16)
CLIP = dict(attention=partial(Attention, fused=False, normed=True), readout="token")
ENORMOUS = Config(dim=1792, depth=64, num_heads=16, patch=14, mlp_ratio=60 / 7, block=PostNormBlock)

VARIANTS = {
    "eva02_tiny_patch14_224": replace(TINY, num_classes=0),
    "eva02_tiny_patch14_336": replace(TINY, img_size=336),
    "eva02_small_patch14_224": replace(SMALL, num_classes=0),
    "eva02_small_patch14_336": replace(SMALL, img_size=336),
    "eva02_base_patch14_224": replace(BASE, num_classes=0),
    "eva02_base_patch14_448": replace(BASE, img_size=448),
    "eva02_base_patch16_clip_224": replace(BASE, patch=16, num_classes=512, **CLIP),
    "eva02_large_patch14_224": replace(LARGE, num_classes=0),
    "eva02_large_patch14_448": replace(LARGE, img_size=448),
    "eva02_large_patch14_clip_224": replace(LARGE, num_classes=768, **CLIP),
    "eva02_large_patch14_clip_336": replace(LARGE, img_size=336, num_classes=768, **CLIP),
    "eva02_enormous_patch14_clip_224": replace(ENORMOUS, num_classes=1024),
}
register(Eva, VARIANTS)
