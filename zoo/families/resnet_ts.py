"""ResNets that Ross Wightman assembled for timm: many 3x3 convs in the stem, SiLU, and one kind of attention a row.

    image -> 3 or 4 convs, (max pool) (H/4) -> 4 stages of bottlenecks -> (1x1 conv) -> mean -> fc
    bottleneck -> 1x1 conv to a quarter of the channels -> 3x3 conv -> (attention) -> 1x1 conv -> + shortcut -> silu

The number in a name counts layers; t: tiered stem, s: SiLU, q: stem of four. resnext: the 3x3 convs have
groups of 32 channels. se, eca, gc and bat are the attention: squeeze-and-excitation (arXiv:1709.01507), ECA-Net
(arXiv:1910.03151), GCNet (arXiv:1904.11492) and bilinear attention, Chi et al. 2020, "Non-Local Neural Networks With
Grouped Bilinear Attentional Transforms", CVPR. resnet50_mlp is CLIP's ResNet with a hidden layer after the mean.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.base import CHANNEL_GATES
from zoo.families import clip_resnet
from zoo.families.clip_resnet import ClipResNetGap
from zoo.families.gernet import Config, Staged
from zoo.layers.channel_attention import AddedContext, EfficientChannelAttention, SqueezeExcite
from zoo.layers.conv import ConvNorm
from zoo.layers.head import NormMlpHead
from zoo.layers.staged import SILU, Bottle, Edge, Layers, Tiered, conv_act, each
from zoo.layers.table import RELU, Style, Table
from zoo.layers.width import make_divisible
from zoo.probe import Geometry, Grid, attend
from zoo.registry import register

SIDE, GROUPS = 8, 2  # blocks of rows, and of columns, that bilinear attention mixes; groups of channels
CONTEXT = "its context is one weighted mean of the grid, the same for every position, and the rest is convolutions"


class Bilinear(nn.Module):
    """Mix blocks of rows by one matrix and blocks of columns by another. (B, C, H, W) -> (B, C, H, W).

    Rows are cut into 8 blocks: row u of block i reads row u of every block k with weight p[i, k]. So do columns with q.
    Together that is an attention of 8x8 positions, H/8 rows and W/8 columns apart.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = ConvNorm(dim, GROUPS, 1, act=RELU)
        self.conv_p = nn.Conv2d(GROUPS, GROUPS * SIDE * SIDE, (SIDE, 1))
        self.conv_q = nn.Conv2d(GROUPS, GROUPS * SIDE * SIDE, (1, SIDE))
        self.squash = nn.Sigmoid()
        self.conv2 = ConvNorm(dim, dim, 1, act=RELU)

    def weights(self, x: Tensor) -> Tensor:
        """Weights of all positions that read each other. -> (B, groups, 64, 64)."""
        x = self.conv1(x)
        p = self.squash(self.conv_p(F.adaptive_max_pool2d(x, (SIDE, 1)))).view(-1, GROUPS, SIDE, SIDE)
        q = self.squash(self.conv_q(F.adaptive_max_pool2d(x, (1, SIDE)))).view(-1, GROUPS, SIDE, SIDE).transpose(2, 3)
        p, q = p / p.sum(3, keepdim=True), q / q.sum(3, keepdim=True)
        return (p[:, :, :, None, :, None] * q[:, :, None, :, None, :]).flatten(4).flatten(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, *x.shape[2:])
        if grid.height % SIDE or grid.width % SIDE:
            raise ValueError(
                f"A {grid.height}x{grid.width} grid has no 8x8 blocks: use image sides that are multiples of 256."
            )
        weights, apart = self.weights(x), grid.tokens // SIDE**2
        v = x.view(len(x), GROUPS, -1, SIDE, grid.height // SIDE, SIDE, grid.width // SIDE)
        v = v.permute(0, 4, 6, 1, 3, 5, 2)  # (B, u, v, groups, k, l, C / groups)

        def geometry() -> Geometry:
            token = torch.arange(grid.tokens).view(v.shape[4], v.shape[1], v.shape[5], v.shape[2])
            index = token.permute(1, 3, 0, 2).flatten(2).flatten(0, 1)
            return Geometry(index, index, grid, grid)

        values = v.flatten(4, 5).flatten(0, 2)  # (B * u * v, groups, 64, C / groups)
        y = attend(lambda: weights.repeat_interleave(apart, 0), values, layer=self, geometry=geometry)
        return self.conv2(y.view(v.shape).permute(0, 3, 6, 4, 1, 5, 2).reshape(x.shape))


class BilinearAttention(nn.Module):
    """1x1 conv to a quarter of the channels -> Bilinear -> 1x1 conv back -> + x. (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        hidden = make_divisible(dim / 4)
        self.conv1 = ConvNorm(dim, hidden, 1, act=RELU)
        self.ba = Bilinear(hidden)
        self.conv2 = ConvNorm(hidden, dim, 1, act=RELU)
        self.dropout = nn.Dropout2d(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.conv2(self.ba(self.conv1(x))))


class BilinearStaged(Staged):
    """Image (B, 3, H, W), H and W multiples of 256 -> features (B, num_features, H/32, W/32) -> (B, num_classes)."""

    smallest = 32 * SIDE


class MlpResNet(ClipResNetGap):
    """Image (B, 3, H, W) -> features (B, 2048, H/32, W/32) -> mean -> 1024 hidden channels -> (B, num_classes)."""

    readout = "mean_norm"
    layouts = ()

    def __init__(self, cfg: clip_resnet.Config):
        super().__init__(cfg)
        self.num_features = 1024

    @staticmethod
    def make_head(dim: int, cfg: clip_resnet.Config) -> nn.Module:
        return NormMlpHead(dim, cfg.num_classes, nn.BatchNorm2d, 1024, cfg.drop, RELU)


@dataclass(frozen=True)
class Bottle4(Bottle):
    """1x1 conv -> two 3x3 convs -> 1x1 conv."""

    def middle(self, dim: int, stride: int, style: Style) -> Layers:
        groups = dim // self.group_width
        first, second = (conv_act(dim, dim, 3, style, step, groups) for step in (stride, 1))
        return {"conv2_kxk": first, "conv2b_kxk": second}


def table(depths: tuple[int, ...], dims: tuple[int, ...], group_width: int = 0) -> Table:
    """Make stages of bottlenecks; all but the first halve the grid."""
    rows = enumerate(zip(dims, depths, strict=True))
    return tuple((Bottle(dim, depth, 2 if i else 1, group_width=group_width),) for i, (dim, depth) in rows)


X26 = table((2, 2, 2, 2), (256, 512, 1024, 2048), 32)
R33 = table((2, 3, 3, 2), (256, 512, 1536, 1536))
R50 = table((3, 4, 6, 3), (256, 512, 1024, 2048))
R51 = (*table((2, 4, 6), (256, 512, 1536), 32), (Bottle(1536, 4, 2, ratio=1, group_width=1),))
four = partial(Bottle4, stride=2, group_width=32)
R61 = (Edge(256),), (four(512, 4),), (four(1536, 6),), (four(1536, 4, ratio=1, group_width=1),)
STEM = Tiered(64, before=(24, 32))
POOLED = replace(STEM, pool=True)
QUAD = Tiered(128, before=(16, 32, 64))

s = partial(Config, style=Style(act=SILU))
se = partial(s, no_attention=CHANNEL_GATES)
gc = partial(s, no_attention=CONTEXT)

STAGED = {
    "resnet32ts": s(R33, STEM),
    "resnet33ts": s(R33, STEM, 1280),
    "resnet51q": s(R51, replace(QUAD, bare=2), 2048),
    "resnet61q": s(R61, QUAD, 2048),
    "resnext26ts": s(X26, POOLED),
    "seresnet33ts": se(each(R33, attention=SqueezeExcite), STEM, 1280),
    "seresnext26ts": se(each(X26, attention=SqueezeExcite), POOLED),
    "eca_resnet33ts": se(each(R33, attention=EfficientChannelAttention), STEM, 1280),
    "eca_resnext26ts": se(each(X26, attention=EfficientChannelAttention), POOLED),
    "gcresnet33ts": gc(each(R33, attention=AddedContext), STEM, 1280),
    "gcresnet50t": Config(each(R50, attention=AddedContext), STEM, no_attention=CONTEXT),
    "gcresnext26ts": gc(each(X26, attention=AddedContext), POOLED),
    "gcresnext50ts": gc(each(R50, attention=AddedContext, group_width=32), POOLED),
}
BILINEAR = {"bat_resnext26ts": s(each(X26, attention=BilinearAttention), POOLED, no_attention=None)}
MLP = {"resnet50_mlp": clip_resnet.Config((3, 4, 6, 3))}
VARIANTS = STAGED | BILINEAR | MLP
register(Staged, STAGED)
register(BilinearStaged, BILINEAR)
register(MlpResNet, MLP)
