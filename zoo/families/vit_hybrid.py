"""Hybrid ViT: the patches of a Vision Transformer are cut not from the image but from the features of a ResNet.

    image -> a ResNet's stem and stages -> patches of 1x1 feature, or of 8x8 after the stem alone -> a ViT

Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", arXiv:2010.11929, whose ResNets have standardised weights and
group norms; the r26, the r50_s32 and the r_s16 rows: Steiner et al. 2021, arXiv:2106.10270. The resnet26d and resnet50d
rows, with ResNet-D (He et al. 2018, arXiv:1812.01187), are timm's own.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.families import resnet
from zoo.families.resnet import resnet_d
from zoo.families.resnetv2 import group_norm
from zoo.families.vit import BASE as VIT_BASE, LARGE as VIT_LARGE, SMALL as VIT_SMALL, TINY as VIT_TINY, Config, ViT
from zoo.layers.conv import pad_same
from zoo.layers.embed import check_patches
from zoo.layers.norm import GroupNormAct2d
from zoo.layers.std_conv import StdConv2d
from zoo.probe import tap
from zoo.registry import register

conv = partial(StdConv2d, same=True)


def conv_norm(dim_in: int, dim: int, stride: int) -> nn.Sequential:
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    norm = GroupNormAct2d(dim, width=dim // 32)
    return nn.Sequential(OrderedDict(conv=conv(dim_in, dim, 1, stride), norm=norm))


class Bottleneck(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up. `first` of its stage: conv in the shortcut."""

    def __init__(self, dim_in: int, dim: int, stride: int, first: bool):
        super().__init__()
        self.downsample = conv_norm(dim_in, dim, stride) if first else nn.Identity()
        self.conv1, self.norm1 = conv(dim_in, dim // 4, 1), group_norm(dim // 4)
        self.conv2, self.norm2 = conv(dim // 4, dim // 4, 3, stride), group_norm(dim // 4)
        self.conv3, self.norm3 = conv(dim // 4, dim, 1), GroupNormAct2d(dim, width=dim // 32)
        self.act3 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        return self.act3(self.norm3(self.conv3(y)) + self.downsample(x))


class SameMaxPool(nn.Module):
    """3x3, padded with zeros as TensorFlow's "same" is. (B, C, H, W) -> (B, C, H/2, W/2), rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(pad_same(x, (3, 3), (2, 2)), 3, 2)


def stem() -> nn.Sequential:
    """(B, 3, H, W) -> (B, 64, H/4, W/4), rounded up."""
    return nn.Sequential(OrderedDict(conv=conv(3, 64, 7, 2), norm=group_norm(64), pool=SameMaxPool()))


def through(x: Tensor, stages: Iterable[nn.Module]) -> Tensor:
    """Each stage halves the grid but the first. (B, 64, H, W) -> (B, C, H', W')."""
    for i, stage in enumerate(stages, 1):
        x = tap(f"stage{i}", stage(x), "NCHW")
    return x


class GroupNormResNet(nn.Module):
    """A ResNet of standardised weights. (B, 3, H, W) -> (B, dim, H/r, W/r), rounded up; r = 2^(stages + 1)."""

    def __init__(self, depths: tuple[int, ...]):
        super().__init__()
        self.stem, self.stages, self.dim = stem(), nn.Sequential(), 64
        for i, depth in enumerate(depths):
            dim, blocks = 256 * 2**i, nn.Sequential()
            for j in range(depth):
                blocks.append(Bottleneck(dim if j else self.dim, dim, 2 if i and not j else 1, first=j == 0))
            self.stages.append(nn.Sequential(OrderedDict(blocks=blocks)))
            self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return through(self.stem(x), self.stages)


class ResNetD(nn.Module):
    """(B, 3, H, W) -> (B, dim, H/r, W/r), rounded up, as above."""

    def __init__(self, depths: tuple[int, ...]):
        super().__init__()
        cfg = resnet_d(resnet.Config(depths))
        self.dim = cfg.stem[-1]
        self.conv1, self.bn1 = resnet.stem(cfg), nn.BatchNorm2d(self.dim)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layers = [f"layer{i}" for i in range(1, len(depths) + 1)]
        for i, layer in enumerate(self.layers):
            self.add_module(layer, resnet.stage(i, self.dim, [0.0] * depths[i], cfg))
            self.dim = resnet.channels(i, 0, cfg)[-1]

    def forward(self, x: Tensor) -> Tensor:
        return through(self.maxpool(self.bn1(self.conv1(x)).relu_()), map(self.get_submodule, self.layers))


class HybridEmbed(nn.Module):
    """Patches of a ResNet's features; the stem alone if `depths` is empty. (B, 3, H, W) -> (B, dim, H/patch, W/patch).

    Without a kernel of its own, which has to divide the grid, the last grid is rounded up.
    """

    def __init__(
        self,
        patch: int,
        dim: int,
        depths: tuple[int, ...],
        backbone: Callable[[tuple[int, ...]], GroupNormResNet | ResNetD] = GroupNormResNet,
    ):
        super().__init__()
        made = backbone(depths) if depths else None
        self.patch, self.stages, self.kernel = patch, len(depths), 1 if depths else patch // 4
        self.backbone = made or stem()
        self.proj = nn.Conv2d(made.dim if made else 64, dim, self.kernel, self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel > 1:
            check_patches(x, self.patch)
        return self.proj(self.backbone(x))


class HybridViT(ViT):
    """Image (B, 3, H, W) -> tokens (B, N, dim) -> logits (B, num_classes). The grid is rounded up."""

    @staticmethod
    def table_side(cfg: Config) -> int:
        return -(-cfg.img_size // cfg.patch)


STEM = partial(HybridEmbed, depths=())
R26 = partial(HybridEmbed, depths=(2, 2, 2, 2))
R50 = partial(HybridEmbed, depths=(3, 4, 6, 3))
R50_S16 = partial(HybridEmbed, depths=(3, 4, 9))
R26D = partial(HybridEmbed, depths=(2, 2, 2, 2), backbone=ResNetD)
R50D = partial(HybridEmbed, depths=(3, 4, 6, 3), backbone=ResNetD)
R50D_S16 = partial(HybridEmbed, depths=(3, 4, 6), backbone=ResNetD)
TINY = replace(VIT_TINY, patch=32, embed=STEM)
SMALL = replace(VIT_SMALL, patch=32, embed=R26)
BASE = replace(VIT_BASE, patch=32)
BASE_S16 = replace(VIT_BASE, embed=R50_S16)
LARGE = replace(VIT_LARGE, patch=32, embed=R50)
SHALLOW = replace(VIT_BASE, depth=8, num_heads=8, mlp_ratio=3)

VARIANTS = {
    "vit_tiny_r_s16_p8_224": TINY,
    "vit_tiny_r_s16_p8_384": replace(TINY, img_size=384),
    "vit_small_r26_s32_224": SMALL,
    "vit_small_r26_s32_384": replace(SMALL, img_size=384),
    "vit_base_r26_s32_224": replace(BASE, embed=R26),
    "vit_base_r50_s16_224": replace(BASE_S16, num_classes=0),
    "vit_base_r50_s16_384": replace(BASE_S16, img_size=384),
    "vit_large_r50_s32_224": LARGE,
    "vit_large_r50_s32_384": replace(LARGE, img_size=384),
    "vit_small_resnet26d_224": replace(SHALLOW, patch=32, embed=R26D),
    "vit_small_resnet50d_s16_224": replace(SHALLOW, embed=R50D_S16),
    "vit_base_resnet26d_224": replace(BASE, embed=R26D),
    "vit_base_resnet50d_224": replace(BASE, embed=R50D),
}
register(HybridViT, VARIANTS)
