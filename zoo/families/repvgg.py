"""RepVGG: trained as a sum of three branches a layer, run as a plain stack of 3x3 convolutions, as simple as VGG.

    image -> block (H/2) -> 4 stages of blocks, each of which halves the grid -> mean -> fc
    block -> 3x3 conv + 1x1 conv + x itself (if the shapes agree), each with batch norm -> (gates) -> relu

All branches are linear, so their sum folds into one 3x3 convolution (zoo/layers/reparam.py). Ding et al. 2021, "RepVGG:
Making VGG-style ConvNets Great Again", arXiv:2101.03697. The g4 rows divide every second conv into 4 groups; d2se is
the authors' later, deeper net with gates. test_byobnet is timm's own: one block of each kind, none of them RepVGG's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from zoo.base import CHANNEL_GATES
from zoo.families.gernet import Config, Staged
from zoo.layers.channel_attention import SqueezeExcite, gates_of
from zoo.layers.conv import ConvNorm
from zoo.layers.reparam import RepBlock
from zoo.layers.staged import Basic, Bottle, Conv3x3, Edge, Layers, Residual, conv_act, conv_norm, each, mean_projection
from zoo.layers.table import Row, Style, Table
from zoo.layers.width import make_divisible
from zoo.registry import register


class RepVggBlock(RepBlock):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, row: "Rep", stride: int, drop_path: float, style: Style):
        super().__init__(dim_in, row.dim, stride, drop_path, row.attention(row.dim), style.act())
        self.conv_kxk = ConvNorm(dim_in, row.dim, 3, stride, row.groups)
        self.conv_1x1 = ConvNorm(dim_in, row.dim, 1, stride, row.groups)

    def branches(self) -> list[nn.Module]:
        return [self.conv_1x1, self.conv_kxk]


@dataclass(frozen=True)
class Rep(Row):
    """A row of RepVggBlock."""

    groups: int = 1  # of the convs
    attention: Callable[[int], nn.Module] = nn.Identity  # before the activation, given its channels

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        return RepVggBlock(dim_in, self, stride, drop_path, style)


@dataclass(frozen=True)
class Dark(Residual):
    """1x1 conv -> 3x3 conv -> (attention), as in DarkNet."""

    def layers(self, dim_in: int, stride: int, style: Style) -> Layers:
        dim = make_divisible(self.dim * self.ratio)
        return {
            "conv1_1x1": conv_act(dim_in, dim, 1, style),
            "conv2_kxk": conv_norm(dim, self.dim, 3, style, stride),
            "attn_last": self.attention(self.dim),
        }


def sixteenth(dim: int) -> nn.Module:
    """Make gates for d2se."""
    return SqueezeExcite(dim, dim // 16)


def rows(depths: tuple[int, ...], a: float, b: float, groups: int = 1) -> Table:
    """The paper's table 2, with its `a` and `b`: the width of stages 1 to 3 and of the last."""
    dims = int(64 * a), int(128 * a), int(256 * a), int(512 * b)
    return tuple(
        tuple(Rep(dim, stride=1 if i else 2, groups=groups if i % 2 else 1) for i in range(depth))
        for dim, depth in zip(dims, depths, strict=True)
    )


A, B, D = (2, 4, 14, 1), (4, 6, 16, 1), (8, 14, 24, 1)
ONE_OF_EACH = (
    (Edge(32, 1, 2, ratio=0.5),),
    (Dark(64, 1, 2, ratio=0.5),),
    (Basic(128, 1, 2, ratio=0.25),),
    (Bottle(256, 1, 2),),
)

VARIANTS = {
    "repvgg_a0": Config(rows(A, 0.75, 2.5), Rep(48)),
    "repvgg_a1": Config(rows(A, 1, 2.5), Rep(64)),
    "repvgg_a2": Config(rows(A, 1.5, 2.75), Rep(64)),
    "repvgg_b0": Config(rows(B, 1, 2.5), Rep(64)),
    "repvgg_b1": Config(rows(B, 2, 4), Rep(64)),
    "repvgg_b1g4": Config(rows(B, 2, 4, groups=4), Rep(64)),
    "repvgg_b2": Config(rows(B, 2.5, 5), Rep(64)),
    "repvgg_b2g4": Config(rows(B, 2.5, 5, groups=4), Rep(64)),
    "repvgg_b3": Config(rows(B, 3, 5), Rep(64)),
    "repvgg_b3g4": Config(rows(B, 3, 5, groups=4), Rep(64)),
    "repvgg_d2se": Config(
        each(rows(D, 2.5, 5), attention=sixteenth), Rep(64, attention=sixteenth), no_attention=CHANNEL_GATES
    ),
    "test_byobnet": Config(
        each(ONE_OF_EACH, attention=gates_of(1 / 4), shortcut=mean_projection), Conv3x3(24), no_attention=CHANNEL_GATES
    ),
}
register(Staged, VARIANTS)
