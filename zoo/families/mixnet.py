"""MixNet: one depthwise conv has kernels of several sizes, each for a share of the channels.

    image -> 3x3 conv of step 2 -> 6 stages of blocks -> 1x1 conv -> mean -> fc
    block -> 1x1 conv to 6 times the channels -> depthwise conv: channels in 1 to 5 parts, each with a kernel of its own
          -> gates: mean over the grid, two small layers -> 1x1 conv back, linear -> + shortcut

Small kernels keep detail and large kernels see more of the image; many of the 1x1 convs have two groups.
Tan and Le 2019, "MixConv: Mixed Depthwise Convolutional Kernels", arXiv:1907.09595; L is a wider M. XL and XXL are
timm's own (Ross Wightman). tf: weights that were trained in TensorFlow.
"""

from functools import partial

from zoo.families.efficientnet import SILU
from zoo.families.mobilenet_v1 import Config, MobileNet, tensorflow
from zoo.layers.mbconv import Inverted, Separable
from zoo.layers.table import Table, scaled
from zoo.layers.width import Width
from zoo.registry import register

mixed = partial(Inverted, gates=0.5, act=SILU)
pairs = partial(Inverted, expand_groups=2, project_groups=2)
mixed_pairs = partial(mixed, expand_groups=2, project_groups=2)
S = (
    (Separable(16),),
    (pairs(24, stride=2), pairs(24, expand=3)),
    (mixed(40, stride=2, kernel=(3, 5, 7)), mixed_pairs(40, depth=3, kernel=(3, 5))),
    (
        mixed(80, stride=2, kernel=(3, 5, 7), gates=0.25, project_groups=2),
        mixed(80, depth=2, kernel=(3, 5), gates=0.25, project_groups=2),
    ),
    (mixed_pairs(120, kernel=(3, 5, 7)), mixed_pairs(120, depth=2, kernel=(3, 5, 7, 9), expand=3)),
    (mixed(200, stride=2, kernel=(3, 5, 7, 9, 11)), mixed(200, depth=2, kernel=(3, 5, 7, 9), project_groups=2)),
)
M = (
    (Separable(24),),
    (pairs(32, stride=2, kernel=(3, 5, 7)), pairs(32, expand=3)),
    (mixed(40, stride=2, kernel=(3, 5, 7, 9)), mixed_pairs(40, depth=3, kernel=(3, 5))),
    (
        mixed(80, stride=2, kernel=(3, 5, 7), gates=0.25),
        mixed_pairs(80, depth=3, kernel=(3, 5, 7, 9), gates=0.25),
    ),
    (mixed(120), mixed_pairs(120, depth=3, kernel=(3, 5, 7, 9), expand=3)),
    (mixed(200, stride=2, kernel=(3, 5, 7, 9)), mixed(200, depth=3, kernel=(3, 5, 7, 9), project_groups=2)),
)


def net(table: Table, stem_dim: int, times: float = 1.0, depth: float = 1.0) -> Config:
    """Multiply all channels but those of the last conv, and the depths."""
    width = Width(times)
    return Config(scaled(table, width, depth, round), width(stem_dim), head_dim=1536)


SMALL = net(S, 16)
MEDIUM = net(M, 24)
LARGE = net(M, 24, 1.3)

VARIANTS = {
    "mixnet_s": SMALL,
    "mixnet_m": MEDIUM,
    "mixnet_l": LARGE,
    "mixnet_xl": net(M, 24, 1.6, 1.2),
    "mixnet_xxl": net(M, 24, 2.4, 1.3),
    "tf_mixnet_s": tensorflow(SMALL),
    "tf_mixnet_m": tensorflow(MEDIUM),
    "tf_mixnet_l": tensorflow(LARGE),
}
register(MobileNet, VARIANTS)
