"""HaloNet: bottlenecks in which a cell reads its block of the grid and a rim around it, in place of a 3x3 convolution.

    image -> stem (H/4) -> 4 stages of bottlenecks, the grid halved before stages 2 to 4 -> (1x1 conv) -> mean -> fc
    bottleneck -> 1x1 conv -> 3x3 conv, or halo attention -> 1x1 conv -> + shortcut

Vaswani et al. 2021, "Scaling Local Self-Attention for Parameter Efficient Visual Backbones", arXiv:2103.12731. All
sizes but h1 are timm's (Ross Wightman): convolutions in the first stages, stems of three 3x3 convs, se and eca gates;
haloregnetz has RegNetZ's inverted bottlenecks, and the last stage of halo2botnet BoTNet's attention.
"""

from functools import partial
from typing import Any

from torch import nn

from zoo.families import botnet, gernet
from zoo.families.botnet import (
    BOT,
    NEXT,
    POOLED,
    SMOOTH,
    STRIDED,
    BottleneckTransformer,
    alternating,
    last,
    stages26,
    stages33,
    stages50,
)
from zoo.families.gernet import Staged
from zoo.layers.channel_attention import gates_of
from zoo.layers.halo_attention import HaloAttention
from zoo.layers.staged import Attend, Bottle, Conv3x3, Tiered, each
from zoo.layers.table import PLAIN, Style, Table
from zoo.registry import register


def halo(**fields: Any) -> partial[Attend]:
    """Make rows of halo attention with such fields; any grid will do."""
    return partial(Attend, mix=lambda dim, side, stride: HaloAttention(dim, stride, **fields))


def net(stages: Table, stem: Any = POOLED, last_dim: int = 0, style: Style = SMOOTH) -> gernet.Config:
    return gernet.Config(stages, stem, last_dim, style, no_attention=None)


def stages_h1(attend: partial[Attend]) -> Table:
    """Attention alone, with as many channels inside as outside."""
    stages = (attend(64, 3),), (attend(128, 3, 2),), (attend(256, 10, 2),), (attend(512, 3, 2),)
    return each(stages, ratio=1)


def stages_regnetz(attend: partial[Attend]) -> Table:
    """Inverted bottlenecks with gates; every fourth of stage 3 and all of stage 4 attend."""
    stages = (
        (Bottle(48, 2, 2),),
        (Bottle(96, 6, 2),),
        (Bottle(192, 3, 2), attend(192), *2 * (Bottle(192, 3), attend(192))),
        (attend(288, 2, 2),),
    )
    gates = gates_of(1 / 4)
    return each(stages, ratio=3, of_input=True, group_width=16, attention=gates, shortcut=None, act=nn.Identity)


RIM2, RIM3 = halo(halo=2), halo(halo=3)

HALO = {
    "halonet_h1": net(stages_h1(RIM3), Tiered(64, kernel=7, pool=True), style=PLAIN),
    "halonet26t": net(stages26(RIM2), style=PLAIN),
    "sehalonet33ts": net(stages33(RIM3), STRIDED, 1280),
    "halonet50ts": net(stages50(last(halo(halo=3, num_heads=4)), RIM3, RIM3)),
    "eca_halonext26ts": net(NEXT(halo(halo=2, head_dim=16))),
    "haloregnetz_b": net(stages_regnetz(halo(block=7, halo=2, qk_ratio=0.33)), Conv3x3(32), 1536),
}
STAGES = stages50(alternating(512, 4, 32, RIM3), RIM3, BOT)
BOTTOM = {"halo2botnet50ts_256": botnet.Config(STAGES, STRIDED, style=SMOOTH, no_attention=None)}
VARIANTS = HALO | BOTTOM
register(Staged, HALO)
register(BottleneckTransformer, BOTTOM)
