"""TinyNet: EfficientNet-B0 made smaller, by a rule of its own for how much of depth, width and image to give up.

    image -> 3x3 conv of step 2 -> 7 stages of blocks -> 1x1 conv -> mean -> fc

EfficientNet's rule for growth, read backward, shrinks all three alike; small nets do better if the image and the depth
shrink little and the width most. Han et al. 2020, "Model Rubik's Cube: Twisting Resolution, Depth and Width for
TinyNets", arXiv:2010.14819. The image's size is the checkpoint's.
"""

from zoo.families.efficientnet import STYLE, stages
from zoo.families.mobilenet_v1 import Config, MobileNet
from zoo.layers.table import scaled
from zoo.registry import register


def shrunk(width: float, depth: float) -> Config:
    """The blocks narrower, and fewer or more of them; the first conv and the last one as they are."""
    return Config(scaled(stages(), width, depth, round), style=STYLE)


VARIANTS = {
    "tinynet_a": shrunk(1.0, 1.2),
    "tinynet_b": shrunk(0.75, 1.1),
    "tinynet_c": shrunk(0.54, 0.85),
    "tinynet_d": shrunk(0.54, 0.695),
    "tinynet_e": shrunk(0.51, 0.6),
}
register(MobileNet, VARIANTS)
