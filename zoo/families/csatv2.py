"""CSATv2: reads the frequencies of small blocks of the image, as JPEG does, before ConvNeXt's blocks and attention.

    image -> brightness and two colours -> cosine transform of 8x8 pixels -> norm -> a linear layer each (H/8)
    -> 4 stages of blocks, in the last two then attention, the grid halved before stages 2 to 4 -> mean -> norm -> fc
    block     -> 7x7 depthwise conv -> norm -> MLP with response norm -> times a gate for each place -> + shortcut
    attention -> norm -> + depthwise conv -> attention -> + shortcut -> norm -> MLP -> + shortcut

By members of MLPA Lab 2025; no paper yet. The means and variances of the frequencies, in JPEG's zigzag order, are those
of the published models.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.attention import SelfAttention
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import check_patches
from zoo.layers.head import NormMlpHead
from zoo.layers.init import init_truncated
from zoo.layers.kept import kept
from zoo.layers.mlp import GlobalResponseNorm, Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.probe import Grid, tap
from zoo.registry import register

SIDE = 8  # of a block of pixels
HEADS, INNER = 8, 256  # of attention
POOLED = 7  # side of the grid on which gates are made
ZIGZAG = sorted(product(range(SIDE), repeat=2), key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))
PIXEL_MEAN, PIXEL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what images were normalised by
MEANS = """
    932.42657 -.0026 .33415 -.0284 .00003 -.02792 -.00183 .00006 .00032 .03402 -.00571 .0002 .00006 -.00038
    -.00558 -.00116 0 -.00047 -.00008 -.0003 .00942 .00161 -.00009 -.00006 -.00014 -.00035 .00001 -.0022 .00033
    -.00002 -.00003 -.0002 .00007 0 .00005 .00293 -.00004 .00006 .00019 .00004 .00006 -.00015 -.00002 .00007 .0001
    -.00004 .00008 0 .00008 -.00001 .00015 .00002 .00007 .00003 .00004 -.00001 .00004 0 .00002 0 -.00008 0 -.00003
    .00003
    962.34735 -.00428 .09835 .00152 -.00009 .00312 -.00141 -.00001 -.00013 .0105 .00065 .00006 0 .00003 .00264 0
    .00001 .00007 -.00006 .00003 .00341 .00163 .00004 .00003 -.00001 .00008 0 .0009 .00018 -.00006 -.00001 .00007
    -.00003 -.00001 .00006 .00084 0 -.00001 0 .00004 -.00001 -.00002 0 .00001 .00002 .00001 .00004 .00011 0
    -.00003 .00011 -.00002 .00001 .00001 .00001 .00001 -.00007 -.00003 .00001 0 .00001 .00002 .00001 0
    1053.16101 -.00213 -.09207 .00186 .00013 .00034 -.00119 .00002 .00011 -.00984 .00046 -.00007 -.00001 -.00005
    .0018 .00042 .00002 -.0001 .00004 .00003 -.00301 .00125 -.00002 -.00003 -.00001 -.00001 -.00001 .00056 .00021
    .00001 -.00001 .00002 -.00001 -.00001 .00005 -.0007 -.00002 -.00002 .00005 -.00004 0 .00002 -.00002 .00001 0
    -.00003 .00004 .00007 .00001 0 .00013 0 0 .00002 0 -.00001 -.00004 -.00003 0 .00001 -.00001 .00001 0 0
"""
VARIANCES = """
    270372.375 6287.10645 5974.94043 1653.10889 1463.91748 1832.58997 755.92468 692.41528 648.57184 641.46881
    285.79288 301.621 380.43405 349.84027 374.15891 190.3096 190.76746 221.64578 200.82646 145.87979 126.92046
    62.14622 67.75562 102.42001 129.74922 130.04631 103.12189 97.76417 53.17402 54.81048 73.48712 81.04342 69.351
    49.06024 33.96053 37.03279 20.48858 24.9483 33.90822 44.54912 47.56363 40.0316 30.43313 22.63899 26.53739
    26.57114 21.84404 17.41557 15.18253 10.69678 11.24111 12.97229 15.08971 15.31646 8.90409 7.44213 6.66096
    6.97719 4.17834 3.83882 4.51073 2.36646 2.41363 1.48266
    18839.21094 321.70932 300.15259 77.4783 76.02293 89.04748 33.99642 34.74807 32.12333 28.19588 12.04675
    14.26871 18.45779 16.59588 15.67892 7.37718 8.56312 10.28946 9.41013 6.6909 5.16453 2.55186 3.03073 4.66765
    5.85418 5.74644 4.33702 3.66948 1.95107 2.26034 3.0638 3.50705 3.06359 2.19284 1.54454 1.5786 .97078 1.13941
    1.48653 1.89996 1.95544 1.6495 1.24754 .93677 1.09267 1.09516 .94163 .78966 .72489 .50841 .50909 .55664 .63111
    .64125 .38847 .33378 .30918 .33463 .20875 .19298 .21903 .1338 .13444 .09554
    17127.39844 292.81421 271.45209 66.64056 63.60253 76.35437 28.06587 27.84831 25.96656 23.6037 9.99173 11.34992
    14.46955 12.92553 12.69353 5.91537 6.60187 7.90891 7.32825 5.32785 4.2966 2.13459 2.44135 3.66021 4.50335
    4.38959 3.34888 2.97181 1.60633 1.7701 2.35118 2.69018 2.38189 1.74596 1.26014 1.31684 .79327 .92046 1.1767
    1.47609 1.50914 1.28725 .99898 .74832 .85736 .858 .74663 .63508 .58748 .41098 .41121 .44663 .50277 .51519
    .31729 .27336 .25399 .27241 .17353 .16255 .1844 .11602 .11511 .0845
"""


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one CSATv2 from another."""

    dims: tuple[int, int, int, int]  # channels of each stage
    depths: tuple[int, int, int, int]  # blocks in each stage
    attention: tuple[int, int]  # blocks with attention after them, in the last two stages


@kept(8)
def statistics(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means and deviations, of pixels (3, 1, 1) and of frequencies (3, 64, 1, 1)."""
    pixels = (torch.tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    means, variances = (torch.tensor([*map(float, text.split())]).view(3, -1, 1, 1) for text in (MEANS, VARIANCES))
    mean, std, means, variances = (t.to(device, dtype) for t in (*pixels, means, variances))
    return mean, std, means, variances.sqrt() + 1e-8


def cosine(frequency: int, place: int) -> float:
    """One factor of the orthonormal cosine transform."""
    size = (2 if frequency else 1) / SIDE
    return math.sqrt(size) * math.cos(math.pi * frequency * (2 * place + 1) / (2 * SIDE))


class Cosines(nn.Module):
    """The kernels of the transform, one for each frequency. (B, 3, H, W) -> (B, 3, 64, H/8, W/8)."""

    weights: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("weights", torch.tensor([[cosine(i, j) for j in range(SIDE)] for i in range(SIDE)]))

    def forward(self, x: Tensor) -> Tensor:
        down, across = (self.weights[list(index)].to(x.dtype) for index in zip(*ZIGZAG, strict=True))  # (64, 8) each
        kernels = (down[:, None, :, None] * across[:, None, None]).repeat(3, 1, 1, 1)
        return F.conv2d(x, kernels, stride=SIDE, groups=3).unflatten(1, (3, -1))


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, dim, H/8, W/8)."""

    def __init__(self, dim: int):
        super().__init__()
        self.transform = nn.Sequential(OrderedDict(transform=Cosines()))
        count = SIDE * SIDE
        self.conv_y = nn.Conv2d(count, dim * 3 // 4, 1)
        self.conv_cb, self.conv_cr = nn.Conv2d(count, dim // 8, 1), nn.Conv2d(count, dim // 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)  # large means, small differences
        mean, std, means, deviations = statistics(wide, x.device)
        red, green, blue = ((x.to(wide) * std + mean) * 255).unbind(1)
        y = 0.299 * red + 0.587 * green + 0.114 * blue
        colours = torch.stack([y, 0.564 * (blue - y) + 128, 0.713 * (red - y) + 128], 1)
        parts = ((self.transform(colours) - means) / deviations).to(x.dtype).unbind(1)
        convs = self.conv_y, self.conv_cb, self.conv_cr
        return torch.cat([conv(part) for conv, part in zip(convs, parts, strict=True)], 1)


class Position(nn.Module):
    """Add a depthwise conv. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x) + x


class OneChannel(nn.Module):
    """A transformer block of a single channel, whose norms leave nothing but their bias. (B, 1, H, W) -> (B, 1, H, W).

    What it adds is thus the same for every image. Its attention, by weights that sum to 1 over values that are equal
    in all images of a batch, gives the values.
    """

    def __init__(self):
        super().__init__()
        self.pos_embed, self.norm1, self.norm2 = Position(1), LayerNorm2d(1, 1e-5), LayerNorm(1, 1e-5)
        self.qkv, self.mlp = nn.Linear(1, 3, bias=False), Mlp(1, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(self.norm1(x)) * self.qkv.weight[2]
        return x + self.mlp(self.norm2(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class PlaceGate(nn.Module):
    """A factor for each place, made on a grid of 7x7 from channels' mean and maximum. (B, C, H, W) -> (B, 1, H, W)."""

    def __init__(self):
        super().__init__()
        self.avgpool, self.conv, self.attn = nn.AdaptiveAvgPool2d(POOLED), nn.Conv2d(2, 1, 7, padding=3), OneChannel()

    def forward(self, x: Tensor) -> Tensor:
        gates = self.avgpool(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1))
        return F.interpolate(self.attn(self.conv(gates)), x.shape[2:], mode="bilinear", align_corners=True)


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float):
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(dim, dim, 7, padding=3, groups=dim), LayerNorm(dim)
        self.pwconv1, self.pwconv2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.act, self.grn, self.attn = nn.GELU(), GlobalResponseNorm(4 * dim), PlaceGate()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.pwconv2(self.grn(self.act(self.pwconv1(y)))).permute(0, 3, 1, 2)
        return x + self.drop_path(y * self.attn(y))


class FixedWidthAttention(SelfAttention):
    """Every token reads every token, with values as wide in each stage. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int):
        nn.Module.__init__(self)
        self.num_heads = HEADS
        self.qkv, self.proj = nn.Linear(dim, 3 * INNER, bias=False), nn.Linear(INNER, dim)


class TransformerBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm1, self.pos_embed = LayerNorm2d(dim, 1e-5), Position(dim)
        self.attn = FixedWidthAttention(dim)
        self.norm2, self.mlp = LayerNorm(dim, 1e-5), Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, *x.shape[2:])
        y = self.attn(self.pos_embed(self.norm1(x)).flatten(2).transpose(1, 2), grid)
        x = x + y.transpose(1, 2).unflatten(2, grid.shape)
        return x + self.mlp(self.norm2(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class CSATv2(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/64, W/64) -> logits (B, num_classes).

    Any H and W that 8 divides; each halving of the grid rounds down.
    """

    readout = "mean_norm"
    smallest = 64

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        self.stem_dct, self.stages = Stem(cfg.dims[0]), nn.Sequential()
        rates = drop_path_rates(cfg.drop_path, cfg.depths)  # of blocks without attention: the others have none
        for i, (dim, count) in enumerate(zip(cfg.dims, (0, 0, *cfg.attention), strict=True)):
            stage = nn.Sequential(*[nn.Conv2d(cfg.dims[i - 1], dim, 2, 2)] if i else [])
            stage.extend(Block(dim, rate) for rate in rates[i])
            stage.extend(TransformerBlock(dim) for _ in range(count))
            stage.extend([LayerNorm2d(dim)] if i < len(cfg.dims) - 1 else [])
            self.stages.append(stage)
        self.head = NormMlpHead(cfg.dims[-1], cfg.num_classes, LayerNorm2d, drop=cfg.drop)
        self.apply(init_truncated)

    def forward_features(self, x: Tensor) -> Tensor:
        check_patches(x, SIDE)
        x = self.stem_dct(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


VARIANTS = {
    "csatv2": Config((32, 72, 168, 386), (2, 2, 6, 4), (2, 2)),
    "csatv2_21m": Config((48, 96, 224, 448), (3, 3, 6, 5), (4, 3)),
}
register(CSATv2, VARIANTS)
