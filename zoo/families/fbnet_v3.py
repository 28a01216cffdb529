"""FBNet-V3: a search for the net and its training recipe together, since which net is best depends on the recipe.

    image -> 3x3 conv of step 2 -> 7 stages of blocks -> 1x1 conv -> mean -> conv of the one cell that is left -> fc
    block -> 1x1 conv -> depthwise conv -> (gates: mean over the grid, two small layers) -> 1x1 conv -> + shortcut

A small predictor learns from a few trained candidates how accurate others will be. Dai et al. 2020, "FBNetV3: Joint
Architecture-Recipe Search using Predictor Pretraining", arXiv:2006.02049. Head and activation are MobileNet-V3's
(zoo/families/mobilenet_v3.py).
"""

from functools import partial

from zoo.families.mobilenet_v1 import Config
from zoo.families.mobilenet_v3 import HARD_SIGMOID, HARD_SWISH, MobileNetV3
from zoo.layers.channel_attention import Gates
from zoo.layers.mbconv import Conv, Inverted, Separable
from zoo.layers.table import Style, Table
from zoo.layers.width import make_divisible
from zoo.registry import register

STYLE = Style(
    act=HARD_SWISH, gates=partial(Gates, squash=HARD_SIGMOID), gates_width=partial(make_divisible, least=0.95)
)
gated = partial(Inverted, gates=0.25)
B = (
    (Separable(16, depth=2),),
    (Inverted(24, stride=2, kernel=5, expand=4), Inverted(24, depth=3, kernel=5, expand=2)),
    (gated(40, stride=2, kernel=5, expand=5), gated(40, depth=4, kernel=5, expand=3)),
    (Inverted(72, stride=2, kernel=5, expand=5), Inverted(72, depth=4, expand=3)),
    (gated(120, expand=5), gated(120, depth=5, kernel=5, expand=3)),
    (gated(184, stride=2), gated(184, depth=5, kernel=5, expand=4), gated(224, kernel=5)),
    (Conv(1344, kernel=1),),
)
D = (
    (Separable(16, depth=2),),
    (Inverted(24, stride=2, expand=5), Inverted(24, depth=5, expand=2)),
    (gated(40, stride=2, kernel=5, expand=4), gated(40, depth=4, expand=3)),
    (Inverted(72, stride=2, expand=5), Inverted(72, depth=4, expand=3)),
    (gated(128, expand=5), gated(128, depth=6, kernel=5, expand=3)),
    (gated(208, stride=2), gated(208, depth=5, kernel=5, expand=5), gated(240, kernel=5)),
    (Conv(1440, kernel=1),),
)
G = (
    (Separable(24, depth=3),),
    (Inverted(40, stride=2, kernel=5, expand=4), Inverted(40, depth=4, kernel=5, expand=2)),
    (gated(56, stride=2, kernel=5, expand=4), gated(56, depth=4, kernel=5, expand=3)),
    (Inverted(104, stride=2, kernel=5, expand=5), Inverted(104, depth=4, expand=3)),
    (gated(160, expand=5), gated(160, depth=8, kernel=5, expand=3)),
    (gated(264, stride=2), gated(264, depth=6, kernel=5, expand=5), gated(288, depth=2, kernel=5)),
    (Conv(1728, kernel=1),),
)


def net(table: Table, stem_dim: int) -> Config:
    return Config(table, stem_dim, head_dim=1984, head="plain", style=STYLE)


VARIANTS = {
    "fbnetv3_b": net(B, 16),
    "fbnetv3_d": net(D, 24),
    "fbnetv3_g": net(G, 32),
}
register(MobileNetV3, VARIANTS)
