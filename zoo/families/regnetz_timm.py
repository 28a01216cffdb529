"""RegNetZ in timm's own sizes: inverted bottlenecks with groups of channels, between RegNet and EfficientNet.

    image -> 1 or 3 convs (H/2 or H/4) -> 4 stages of blocks -> 1x1 conv -> mean -> fc
    block -> 1x1 conv to 3 or 4 times the channels -> 3x3 conv in groups -> gates -> 1x1 conv, linear -> + shortcut

Dollár et al. 2021, "Fast and Accurate Model Scaling", arXiv:2103.06877, describes the blocks; the sizes are Ross
Wightman's. The number in a name is the channels of a group. The evos rows have EvoNorm, norm and activation in one
layer, Liu et al. 2020, arXiv:2004.02967, with statistics of each image.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from zoo.base import CHANNEL_GATES
from zoo.families.gernet import Config, Staged
from zoo.layers.channel_attention import gates_of
from zoo.layers.norm import EvoNorm2d
from zoo.layers.staged import SILU, Bottle, Conv3x3, Tiered
from zoo.layers.table import Row, Style
from zoo.registry import register

inverted = partial(Bottle, of_input=True, attention=gates_of(1 / 4), shortcut=None, act=nn.Identity)


def net(
    dims: tuple[int, ...], depths: tuple[int, ...], expand: int, group_width: int, stem: Row, last_dim: int
) -> Config:
    """Build a net; after a stem of several convs, which halve twice, the first stage keeps the grid."""
    strides = 1 if isinstance(stem, Tiered) else 2, 2, 2, 2
    rows = zip(dims, depths, strides, strict=True)
    stages = tuple((inverted(*row, ratio=expand, group_width=group_width),) for row in rows)
    return Config(stages, stem, last_dim, Style(act=SILU), CHANNEL_GATES)


STEM = Tiered(64, before=(24, 32))
EVOS = Style(act=SILU, norm=partial(EvoNorm2d, width=16, eps=1e-3, always=True))
B16 = net((48, 96, 192, 288), (2, 6, 12, 2), 3, 16, Conv3x3(32), 1536)
C16 = net((48, 96, 192, 288), (2, 6, 12, 2), 4, 16, Conv3x3(32), 1536)
D8 = net((64, 128, 256, 384), (3, 6, 12, 3), 4, 8, STEM, 1792)

VARIANTS = {
    "regnetz_b16": B16,
    "regnetz_b16_evos": replace(B16, style=EVOS),
    "regnetz_c16": C16,
    "regnetz_c16_evos": replace(C16, style=EVOS),
    "regnetz_d8": D8,
    "regnetz_d8_evos": replace(D8, stem=Tiered(64, before=(64, 64)), style=EVOS),
    "regnetz_d32": net((64, 128, 256, 384), (3, 6, 12, 3), 4, 32, STEM, 1792),
    "regnetz_e8": net((96, 192, 384, 512), (3, 8, 16, 3), 4, 8, STEM, 2048),
}
register(Staged, VARIANTS)
