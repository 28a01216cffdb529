"""MNASNet: found by a search that times each candidate on a real phone and chooses the blocks of each stage apart.

    image -> 3x3 conv of step 2 -> 7 stages of blocks -> 1x1 conv -> mean -> fc
    block -> 1x1 conv to 3 or 6 times the channels -> depthwise conv -> (gates) -> 1x1 conv back, linear -> + shortcut

The search rewards accuracy and speed together; each stage has its own kernel, expansion, gates, width and depth.
Tan et al. 2018, "MnasNet: Platform-Aware Neural Architecture Search for Mobile", arXiv:1807.11626. mnasnet is the
paper's B1, without gates; semnasnet is its A1, with gates. The numbers in names are the width in percent.
"""

from functools import partial

from zoo.families.mobilenet_v1 import Config, MobileNet
from zoo.layers.mbconv import Inverted, Separable
from zoo.layers.table import Table, scaled
from zoo.layers.width import Width
from zoo.registry import register

gated = partial(Inverted, gates=0.25)
A1 = (
    (Separable(16),),
    (Inverted(24, depth=2, stride=2),),
    (gated(40, depth=3, stride=2, kernel=5, expand=3),),
    (Inverted(80, depth=4, stride=2),),
    (gated(112, depth=2),),
    (gated(160, depth=3, stride=2, kernel=5),),
    (Inverted(320),),
)
B1 = (
    (Separable(16),),
    (Inverted(24, depth=3, stride=2, expand=3),),
    (Inverted(40, depth=3, stride=2, kernel=5, expand=3),),
    (Inverted(80, depth=3, stride=2, kernel=5),),
    (Inverted(96, depth=2),),
    (Inverted(192, depth=4, stride=2, kernel=5),),
    (Inverted(320),),
)
SMALL = (
    (Separable(8),),
    (Inverted(16, stride=2, expand=3),),
    (Inverted(16, depth=2, stride=2),),
    (gated(32, depth=4, stride=2, kernel=5),),
    (gated(32, depth=3),),
    (gated(88, depth=3, stride=2, kernel=5),),
    (Inverted(144),),
)


def wide(table: Table, times: float) -> Config:
    """Multiply all channels but those of the last conv."""
    width = Width(times)
    return Config(scaled(table, width), width(32))


VARIANTS = {
    "mnasnet_050": wide(B1, 0.5),
    "mnasnet_075": wide(B1, 0.75),
    "mnasnet_100": wide(B1, 1.0),
    "mnasnet_140": wide(B1, 1.4),
    "mnasnet_small": Config(SMALL, stem_dim=8),
    "semnasnet_050": wide(A1, 0.5),
    "semnasnet_075": wide(A1, 0.75),
    "semnasnet_100": wide(A1, 1.0),
    "semnasnet_140": wide(A1, 1.4),
}
register(MobileNet, VARIANTS)
