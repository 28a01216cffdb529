"""FBNet: one net trains all candidates for each layer at once, and a learned weight for each says which to keep.

    image -> 3x3 conv of step 2 -> 7 stages of blocks -> 1x1 conv -> mean -> fc
    block -> 1x1 conv to 1, 3 or 6 times the channels -> depthwise conv -> 1x1 conv back, linear -> + shortcut

The search goes by gradients: the latency of each candidate on a phone, read from a table, is part of the loss. Wu et
al. 2018, "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search",
arXiv:1812.03443. C is the largest of the paper's three for phones in general.
"""

from zoo.families.mobilenet_v1 import Config, MobileNet
from zoo.layers.mbconv import Inverted
from zoo.layers.table import TF_NORM, Style
from zoo.registry import register

STAGES = (
    (Inverted(16, expand=1),),
    (Inverted(24, stride=2), Inverted(24, depth=2, expand=1)),
    (Inverted(32, stride=2, kernel=5), Inverted(32, kernel=5, expand=3), Inverted(32, kernel=5), Inverted(32)),
    (Inverted(64, stride=2, kernel=5), Inverted(64, kernel=5, expand=3), Inverted(64, depth=2, kernel=5)),
    (Inverted(112, depth=3, kernel=5), Inverted(112, kernel=5, expand=3)),
    (Inverted(184, depth=4, stride=2, kernel=5),),
    (Inverted(352),),
)

VARIANTS = {
    # The published weights were trained with TensorFlow's epsilon, but not in TensorFlow.
    "fbnetc_100": Config(STAGES, stem_dim=16, head_dim=1984, style=Style(norm=TF_NORM)),
}
register(MobileNet, VARIANTS)
