"""TinyNet: EfficientNet-B0 made smaller, by a rule that keeps image size and depth and gives up width.

    image -> 3x3 conv of step 2 -> 7 stages of EfficientNet's blocks -> 1x1 conv -> mean -> fc

EfficientNet's rule for growth, reversed, would shrink all three alike; the best of many small nets, trained to find
out, have larger images and more layers than that, and fewer channels. Han et al. 2020, "Model Rubik's Cube: Twisting
Resolution, Depth and Width for TinyNets", arXiv:2010.14819. The image's size is the checkpoint's.
"""

from zoo.families.efficientnet import STYLE, stages
from zoo.families.mobilenet_v1 import Config, MobileNet
from zoo.layers.table import scaled
from zoo.registry import register


def shrunk(width: float, depth: float) -> Config:
    """Blocks with other widths and depths; the first conv and the last one do not change."""
    return Config(scaled(stages(), width, depth, round), style=STYLE)


VARIANTS = {
    "tinynet_a": shrunk(1.0, 1.2),
    "tinynet_b": shrunk(0.75, 1.1),
    "tinynet_c": shrunk(0.54, 0.85),
    "tinynet_d": shrunk(0.54, 0.695),
    "tinynet_e": shrunk(0.51, 0.6),
}
register(MobileNet, VARIANTS)
