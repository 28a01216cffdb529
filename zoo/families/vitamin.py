"""ViTamin: a ViT on the features of two convolutional stages, designed to learn from captions.

    image -> two 3x3 convs -> 2 stages of MBConv, each halves the grid -> norm, 3x3 conv of step 2: patches of 16x16
    -> + positions -> ViT blocks with gated MLPs -> mean -> norm -> fc
    MBConv -> norm -> 1x1 conv to 4 times the channels -> 3x3 depthwise conv -> 1x1 conv -> + shortcut

No batch norm, no class token; the xlarge rows have no position table either: only the convolutions' padding tells where
a patch is. The 384 to 1,152 outputs are not classes but the embedding space shared with text. Chen et al. 2024,
"ViTamin: Designing Scalable Vision Models in the Vision-Language Era", arXiv:2404.02132.
"""

from collections import OrderedDict
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from zoo.families.vit import Config, Tokens, ViT
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.probe import tap
from zoo.registry import register

DEPTHS = 2, 4  # blocks in the convolutional stages
EXPAND = 4


class GeGlu(nn.Module):
    """norm -> gelu(w0 x) * w1 x -> w2 on the last axis (Shazeer 2020, arXiv:2002.05202). (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.norm = LayerNorm(dim)
        self.w0 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.w1 = nn.Linear(dim, hidden)
        self.w2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.w2(self.act(self.w0(x)) * self.w1(x))


class MBConv(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H, W), or, with `halve`, (B, dim, ceil(H/2), ceil(W/2))."""

    def __init__(self, dim_in: int, dim: int, halve: bool):
        super().__init__()
        hidden = EXPAND * dim
        self.shortcut = nn.Sequential()
        if halve:
            self.shortcut.add_module("pool", nn.AvgPool2d(3, 2, 1, count_include_pad=False))
        if dim_in != dim:
            self.shortcut.add_module("expand", nn.Conv2d(dim_in, dim, 1))
        self.pre_norm = LayerNorm2d(dim_in)
        self.conv1_1x1 = nn.Conv2d(dim_in, hidden, 1)
        self.act1 = nn.GELU()
        self.conv2_kxk = nn.Conv2d(hidden, hidden, 3, 2 if halve else 1, 1, groups=hidden)
        self.act2 = nn.GELU()
        self.conv3_1x1 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.conv1_1x1(self.pre_norm(x)))
        y = self.act2(self.conv2_kxk(y))
        return self.shortcut(x) + self.conv3_1x1(y)


class ConvStages(nn.Module):
    """(B, 3, H, W) -> (B, dim, ceil(H/16), ceil(W/16))."""

    def __init__(self, dim_out: int, dims: tuple[int, int]):
        super().__init__()
        dim = dims[0]
        self.stem = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, dim, 3, 2, 1),
                norm1=LayerNorm2d(dim),
                act1=nn.GELU(),
                conv2=nn.Conv2d(dim, dim, 3, 1, 1),
            )
        )
        self.stages = nn.Sequential()
        for wider, depth in zip(dims, DEPTHS, strict=True):
            blocks = (MBConv(wider if i else dim, wider, halve=i == 0) for i in range(depth))
            self.stages.append(nn.Sequential(*blocks))
            dim = wider
        self.pool = nn.Sequential(OrderedDict(norm=LayerNorm2d(dim), proj=nn.Conv2d(dim, dim_out, 3, 2, 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return self.pool(x)


class ConvEmbed(nn.Sequential):
    """Patches of 16x16 by two stages of `dims` channels. (B, 3, H, W) -> (B, dim, ceil(H/16), ceil(W/16))."""

    stages = len(DEPTHS)

    def __init__(self, patch: int, dim: int, dims: tuple[int, int]):
        super().__init__(OrderedDict(backbone=ConvStages(dim, dims)))


TOKENS = Tokens(class_token=False)
GAP = Config(tokens=TOKENS, readout="mean_norm", mlp_ratio=2, mlp=GeGlu, num_classes=768)
SMALL = replace(GAP, dim=384, depth=14, num_heads=6, embed=partial(ConvEmbed, dims=(64, 128)))
BASE = replace(SMALL, dim=768, num_heads=12, embed=partial(ConvEmbed, dims=(128, 256)))
LARGE = replace(SMALL, dim=1024, depth=31, num_heads=16, embed=partial(ConvEmbed, dims=(160, 320)))
LARGE2 = replace(LARGE, num_classes=1024)
NO_PLACES = replace(LARGE, tokens=replace(TOKENS, places=None))
XLARGE = replace(NO_PLACES, dim=1152, depth=32, embed=partial(ConvEmbed, dims=(192, 384)), num_classes=1152)

VARIANTS = {
    "vitamin_small_224": SMALL,
    "vitamin_base_224": BASE,
    "vitamin_large_224": LARGE,
    "vitamin_large_256": replace(LARGE, img_size=256),
    "vitamin_large_336": replace(LARGE, img_size=336),
    "vitamin_large_384": replace(LARGE, img_size=384),
    "vitamin_large2_224": LARGE2,
    "vitamin_large2_256": replace(LARGE2, img_size=256),
    "vitamin_large2_336": replace(LARGE2, img_size=336),
    "vitamin_large2_384": replace(LARGE2, img_size=384),
    "vitamin_xlarge_256": replace(XLARGE, img_size=256),
    "vitamin_xlarge_336": replace(XLARGE, img_size=336),
    "vitamin_xlarge_384": replace(XLARGE, img_size=384),
}
register(ViT, VARIANTS)
