"""LCNet: MobileNet-V1's plain blocks with what a CPU hardly notices: hard swish, late 5x5 kernels, gates at the end.

    image -> 3x3 conv of step 2 -> 6 stages of blocks -> mean -> conv of the one cell that is left -> fc
    block -> depthwise conv -> (gates: mean over the grid, two small layers) -> 1x1 conv

No shortcuts: in nets this small they cost time and gain no accuracy. Cui et al. 2021, "PP-LCNet: A Lightweight CPU
Convolutional Neural Network", arXiv:2109.15099. The numbers in names are the width in percent; the head is
MobileNet-V3's (zoo/families/mobilenet_v3.py).
"""

from zoo.families.mobilenet_v1 import Config, both
from zoo.families.mobilenet_v3 import HARD_SWISH, MobileNetV3, hard_gates
from zoo.layers.table import Style, scaled
from zoo.layers.width import Width
from zoo.registry import register

STYLE = Style(act=HARD_SWISH, gates=hard_gates)
STAGES = (
    (both(32),),
    (both(64, depth=2, stride=2),),
    (both(128, depth=2, stride=2),),
    (both(256, stride=2), both(256, kernel=5)),
    (both(256, depth=4, kernel=5),),
    (both(512, depth=2, stride=2, kernel=5, gates=0.25),),
)


def wide(times: float) -> Config:
    """Multiply all channels but those of the last conv."""
    width = Width(times)
    return Config(scaled(STAGES, width), width(16), style=STYLE)


VARIANTS = {
    "lcnet_035": wide(0.35),
    "lcnet_050": wide(0.5),
    "lcnet_075": wide(0.75),
    "lcnet_100": wide(1.0),
    "lcnet_150": wide(1.5),
}
register(MobileNetV3, VARIANTS)
