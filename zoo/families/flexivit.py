"""FlexiViT: one ViT for every patch size, so that its user chooses the cost.

    zoo.load("flexivit_small.1200ep_in1k", patch=30)     64 tokens at 240x240, 225 with patch 16

It was trained with patches of 8 to 48 pixels in turn; the patch layer and the position table are resized to the chosen
patch. Beyer et al. 2022, "FlexiViT: One Model for All Patch Sizes", arXiv:2212.08013.
"""

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.families.vit import BASE as VIT_BASE, LARGE as VIT_LARGE, SMALL as VIT_SMALL, Config, Tokens, ViT
from zoo.layers.embed import check_patches, resize_kernel
from zoo.registry import register

KERNEL = 16  # side in pixels of the patch layer in the files


class FlexiPatchEmbed(nn.Module):
    """Patches of any size by one kernel of 16x16. (B, 3, H, W) -> (B, C, H/patch, W/patch)."""

    def __init__(self, patch: int, dim: int):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, dim, KERNEL, KERNEL)

    def forward(self, x: Tensor) -> Tensor:
        check_patches(x, self.patch)
        return F.conv2d(x, resize_kernel(self.proj.weight, self.patch), self.proj.bias, stride=self.patch)


class FlexiViT(ViT):
    """ViT whose `patch` may change with the same weights: its position table does not depend on it."""

    @staticmethod
    def table_side(cfg: Config) -> int:
        return cfg.img_size // KERNEL


FLEXI = dict(img_size=240, tokens=Tokens(places="patches"), embed=FlexiPatchEmbed)

VARIANTS = {
    "flexivit_small": replace(VIT_SMALL, **FLEXI),
    "flexivit_base": replace(VIT_BASE, **FLEXI),
    "flexivit_large": replace(VIT_LARGE, **FLEXI),
}
register(FlexiViT, VARIANTS)
