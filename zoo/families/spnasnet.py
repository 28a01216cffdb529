"""Single-Path NAS: a search inside one net, whose large kernels contain the small ones: it takes hours, not days.

    image -> 3x3 conv of step 2 -> 7 stages of blocks -> 1x1 conv -> mean -> fc
    block -> 1x1 conv to 3 or 6 times the channels -> depthwise conv -> 1x1 conv back, linear -> + shortcut

A 3x3 kernel is the middle of a 5x5 one, and 3 times the channels are half of 6 times: training decides whether
the rest is worth the time that it takes on a phone. Stamoulis et al. 2019, "Single-Path NAS: Designing
Hardware-Efficient ConvNets in less than 4 Hours", arXiv:1904.02877.
"""

from zoo.families.mobilenet_v1 import Config, MobileNet
from zoo.layers.mbconv import Inverted, Separable
from zoo.registry import register

STAGES = (
    (Separable(16),),
    (Inverted(24, depth=3, stride=2, expand=3),),
    (Inverted(40, stride=2, kernel=5), Inverted(40, depth=3, expand=3)),
    (Inverted(80, stride=2, kernel=5), Inverted(80, depth=3, expand=3)),
    (Inverted(96, kernel=5), Inverted(96, depth=3, kernel=5, expand=3)),
    (Inverted(192, depth=4, stride=2, kernel=5),),
    (Inverted(320),),
)

VARIANTS = {
    "spnasnet_100": Config(STAGES),
}
register(MobileNet, VARIANTS)
