"""RegNetZ: RegNet's rule for widths, with inverted bottlenecks, linear outputs and SiLU.

    image -> 3x3 conv (H/2) -> 4 stages of blocks, each halving the grid -> (1x1 conv) -> mean -> fc
    block -> 1x1 conv to 4 times the channels -> 3x3 conv in groups -> gates -> 1x1 conv, linear -> + shortcut

Dollár et al. 2021, "Fast and Accurate Model Scaling", arXiv:2103.06877; timm's code for it follows the paper's figures
without having seen its nets. h: with a last 1x1 conv. Ross Wightman's own sizes are in regnetz_timm.py.
"""

from functools import partial

from zoo.families.regnet import Config, RegNet
from zoo.layers.staged import SILU
from zoo.layers.table import Style
from zoo.registry import register

z = partial(Config, gated=True, ratio=4, linear=True, style=Style(act=SILU))

VARIANTS = {
    "regnetz_005": z(16, 10.7, 2.51, 21, 4, last_dim=1024),
    "regnetz_040": z(48, 14.5, 2.226, 28, 8),
    "regnetz_040_h": z(48, 14.5, 2.226, 28, 8, last_dim=1536),
}
register(RegNet, VARIANTS)
