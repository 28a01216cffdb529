"""FlexiViT: one ViT for every patch size, so that cost is chosen when it is used.

    zoo.load("flexivit_small.1200ep_in1k", patch=30)     64 tokens at 240x240, where 16 makes 225

It was trained with patches of 8 to 48 pixels in turn; the patch layer and the position table are resized to the patch
that is asked for. Beyer et al. 2022, "FlexiViT: One Model for All Patch Sizes", arXiv:2212.08013.
"""

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from zoo.families.vit import BASE as VIT_BASE, LARGE as VIT_LARGE, SMALL as VIT_SMALL, Config, ViT
from zoo.layers.embed import PatchEmbed, resize_kernel
from zoo.registry import register

KERNEL = 16  # side in pixels of the patch layer as the files hold it


class FlexiPatchEmbed(PatchEmbed):
    """Patches of any size by one kernel of 16x16. (B, 3, H, W) -> (B, C, H/patch, W/patch)."""

    def __init__(self, patch: int, dim: int):
        super().__init__(KERNEL, dim)
        self.patch = patch

    def project(self, x: Tensor) -> Tensor:
        kernel = resize_kernel(self.proj.weight, self.patch)
        return F.conv2d(x, kernel, self.proj.bias, stride=self.patch)


class FlexiViT(ViT):
    """ViT whose `patch` may be chosen anew for the same weights."""

    def __init__(self, cfg: Config):
        super().__init__(replace(cfg, patch=KERNEL))
        self.patch_embed = FlexiPatchEmbed(cfg.patch, cfg.dim)


FLEXI = dict(img_size=240, place_prefix=False)

VARIANTS = {
    "flexivit_small": replace(VIT_SMALL, **FLEXI),
    "flexivit_base": replace(VIT_BASE, **FLEXI),
    "flexivit_large": replace(VIT_LARGE, **FLEXI),
}
register(FlexiViT, VARIANTS)
