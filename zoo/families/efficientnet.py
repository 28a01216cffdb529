"""EfficientNet: one small net found by a search, made deeper, wider and sharper-sighted all at once by one rule.

    image -> 3x3 conv of step 2 -> 7 stages of blocks -> 1x1 conv -> mean -> fc
    block -> 1x1 conv to 6 times the channels -> depthwise conv -> gates: mean over the grid, two small layers
          -> 1x1 conv back, linear -> + shortcut

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv:1905.11946; B8 and L2
came with the checkpoints of arXiv:1911.09665 (AdvProp) and arXiv:1911.04252 (Noisy Student). Lite, for phones that
can't do gates or SiLU: Google 2020, github.com/tensorflow/tpu. tf: weights that were trained in TensorFlow.
"""

from functools import partial

from torch import nn

from zoo.families.mobilenet_v1 import RELU6, Config, MobileNet, tensorflow
from zoo.layers.mbconv import Inverted, Separable
from zoo.layers.table import Style, Table, scaled
from zoo.layers.width import Width
from zoo.registry import register

SILU = partial(nn.SiLU, inplace=True)
STYLE = Style(act=SILU)


def stages(gates: float = 0.25) -> Table:
    """Table 1 of the paper."""
    return (
        (Separable(16, gates=gates),),
        (Inverted(24, depth=2, stride=2, gates=gates),),
        (Inverted(40, depth=2, stride=2, kernel=5, gates=gates),),
        (Inverted(80, depth=3, stride=2, gates=gates),),
        (Inverted(112, depth=3, kernel=5, gates=gates),),
        (Inverted(192, depth=4, stride=2, kernel=5, gates=gates),),
        (Inverted(320, gates=gates),),
    )


def compound(times: float, depth: float, style: Style = STYLE, divisor: int = 8) -> Config:
    """The paper's rule, its third part, the image's size, left to the checkpoint."""
    width = Width(times, divisor)
    return Config(scaled(stages(), width, depth), width(32), head_dim=width(1280), style=style)


def lite(width: float, depth: float) -> Config:
    """No gates, ReLU6, and both ends as they are."""
    return Config(scaled(stages(gates=0), width, depth, keep_end_depths=True), style=Style(act=RELU6))


B0 = compound(1.0, 1.0)
B1 = compound(1.0, 1.1)
B2 = compound(1.1, 1.2)
B3 = compound(1.2, 1.4)
B4 = compound(1.4, 1.8)
B5 = compound(1.6, 2.2)
B6 = compound(1.8, 2.6)
B7 = compound(2.0, 3.1)
B8 = compound(2.2, 3.6)
L2 = compound(4.3, 5.3)
LITE0 = lite(1.0, 1.0)
LITE1 = lite(1.0, 1.1)
LITE2 = lite(1.1, 1.2)
LITE3 = lite(1.2, 1.4)
LITE4 = lite(1.4, 1.8)

VARIANTS = {
    "efficientnet_b0": B0,
    "efficientnet_b1": B1,
    "efficientnet_b2": B2,
    "efficientnet_b3": B3,
    "efficientnet_b4": B4,
    "efficientnet_b5": B5,
    "efficientnet_b6": B6,
    "efficientnet_b7": B7,
    "efficientnet_b8": B8,
    "efficientnet_l2": L2,
    "efficientnet_lite0": LITE0,
    "efficientnet_lite1": LITE1,
    "efficientnet_lite2": LITE2,
    "efficientnet_lite3": LITE3,
    "efficientnet_lite4": LITE4,
    "tf_efficientnet_b0": tensorflow(B0),
    "tf_efficientnet_b1": tensorflow(B1),
    "tf_efficientnet_b2": tensorflow(B2),
    "tf_efficientnet_b3": tensorflow(B3),
    "tf_efficientnet_b4": tensorflow(B4),
    "tf_efficientnet_b5": tensorflow(B5),
    "tf_efficientnet_b6": tensorflow(B6),
    "tf_efficientnet_b7": tensorflow(B7),
    "tf_efficientnet_b8": tensorflow(B8),
    "tf_efficientnet_l2": tensorflow(L2),
    "tf_efficientnet_lite0": tensorflow(LITE0),
    "tf_efficientnet_lite1": tensorflow(LITE1),
    "tf_efficientnet_lite2": tensorflow(LITE2),
    "tf_efficientnet_lite3": tensorflow(LITE3),
    "tf_efficientnet_lite4": tensorflow(LITE4),
}
register(MobileNet, VARIANTS)
