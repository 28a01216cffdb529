"""MobileNet-V2: blocks that are thin where they add up and wide inside, where a cheap depthwise conv looks around.

    image -> 3x3 conv -> 7 stages of blocks -> 1x1 conv to 1280 channels -> mean -> fc
    block -> 1x1 conv to 6 times the channels -> 3x3 depthwise conv -> 1x1 conv back, linear -> + shortcut

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381. The numbers in names
are the width in percent; 110d and 120d are deeper too, and timm's own (Ross Wightman); the _cifar size is this
project's, for photos of 32x32. The blocks are in zoo/layers/mbconv.py, the table's notation in zoo/layers/table.py.
"""

from zoo.families.mobilenet_v1 import RELU6, Config, MobileNet
from zoo.layers.mbconv import Inverted, Separable
from zoo.layers.table import Style, scaled
from zoo.layers.width import Width
from zoo.registry import register

STYLE = Style(act=RELU6)
STAGES = (
    (Separable(16),),
    (Inverted(24, depth=2, stride=2),),
    (Inverted(32, depth=3, stride=2),),
    (Inverted(64, depth=4, stride=2),),
    (Inverted(96, depth=3),),
    (Inverted(160, depth=3, stride=2),),
    (Inverted(320),),
)
CIFAR_STAGES = (
    (Separable(16),),
    (Inverted(32, depth=3, stride=2, expand=3),),
    (Inverted(64, depth=4, stride=2, expand=4),),
    (Inverted(128, depth=4, stride=2, expand=4),),
)


def wide(times: float) -> Config:
    """The paper's width multiplier; the last conv never gets narrower."""
    width = Width(times)
    return Config(scaled(STAGES, width), width(32), head_dim=max(1280, width(1280)), style=STYLE)


def deep(width: float, depth: float) -> Config:
    """Wider and deeper between the two ends, which stay as they are."""
    return Config(scaled(STAGES, width, depth, keep_end_depths=True), style=STYLE)


VARIANTS = {
    "mobilenetv2_035": wide(0.35),
    "mobilenetv2_050": wide(0.5),
    "mobilenetv2_075": wide(0.75),
    "mobilenetv2_100": wide(1.0),
    "mobilenetv2_110d": deep(1.1, 1.2),
    "mobilenetv2_120d": deep(1.2, 1.4),
    "mobilenetv2_140": wide(1.4),
    "mobilenetv2_cifar": Config(
        CIFAR_STAGES, stem_dim=16, stem_stride=1, head_dim=640, style=STYLE, num_classes=10, img_size=32
    ),
}
register(MobileNet, VARIANTS)
