"""EfficientNet V2: a search for nets that train fast puts plain convolutions in the early stages.

    image -> 3x3 conv, stride 2 -> a stage of 3x3 convs -> 2 stages of fused blocks -> stages of inverted residuals
    with gates -> 1x1 conv -> mean -> fc
    fused block -> 3x3 conv to 4 times the channels -> 1x1 conv back, linear -> + shortcut

Tan and Le 2021, "EfficientNetV2: Smaller Models and Faster Training", arXiv:2104.00298. B0 to B3 have the sizes of the
first EfficientNet. tf: trained in TensorFlow. The rw rows are timm's (Ross Wightman), written from the paper before its
code was published; gc has gates from global context: Cao et al. 2019, arXiv:1904.11492.
"""

from dataclasses import replace

from zoo.families.efficientnet import STYLE
from zoo.families.mobilenet_v1 import Config, MobileNet, tensorflow
from zoo.layers.channel_attention import GlobalContext
from zoo.layers.mbconv import Conv, FusedInverted, Inverted
from zoo.layers.table import scaled
from zoo.layers.width import Width
from zoo.registry import register

BASE = (
    (Conv(16, shortcut=True),),
    (FusedInverted(32, depth=2, stride=2, expand=4),),
    (FusedInverted(48, depth=2, stride=2, expand=4),),
    (Inverted(96, depth=3, stride=2, expand=4, gates=0.25),),
    (Inverted(112, depth=5, gates=0.25),),
    (Inverted(192, depth=8, stride=2, gates=0.25),),
)
SMALL = (
    (Conv(24, depth=2, shortcut=True),),
    (FusedInverted(48, depth=4, stride=2, expand=4),),
    (FusedInverted(64, depth=4, stride=2, expand=4),),
    (Inverted(128, depth=6, stride=2, expand=4, gates=0.25),),
    (Inverted(160, depth=9, gates=0.25),),
    (Inverted(256, depth=15, stride=2, gates=0.25),),
)
MEDIUM = (
    (Conv(24, depth=3, shortcut=True),),
    (FusedInverted(48, depth=5, stride=2, expand=4),),
    (FusedInverted(80, depth=5, stride=2, expand=4),),
    (Inverted(160, depth=7, stride=2, expand=4, gates=0.25),),
    (Inverted(176, depth=14, gates=0.25),),
    (Inverted(304, depth=18, stride=2, gates=0.25),),
    (Inverted(512, depth=5, gates=0.25),),
)
LARGE = (
    (Conv(32, depth=4, shortcut=True),),
    (FusedInverted(64, depth=7, stride=2, expand=4),),
    (FusedInverted(96, depth=7, stride=2, expand=4),),
    (Inverted(192, depth=10, stride=2, expand=4, gates=0.25),),
    (Inverted(224, depth=19, gates=0.25),),
    (Inverted(384, depth=25, stride=2, gates=0.25),),
    (Inverted(640, depth=7, gates=0.25),),
)
XLARGE = (
    (Conv(32, depth=4, shortcut=True),),
    (FusedInverted(64, depth=8, stride=2, expand=4),),
    (FusedInverted(96, depth=8, stride=2, expand=4),),
    (Inverted(192, depth=16, stride=2, expand=4, gates=0.25),),
    (Inverted(256, depth=24, gates=0.25),),
    (Inverted(512, depth=32, stride=2, gates=0.25),),
    (Inverted(640, depth=8, gates=0.25),),
)
RW = ((FusedInverted(24, depth=2, expand=1),), *SMALL[1:-1], (Inverted(272, depth=15, stride=2, gates=0.25),))


def base(times: float, depth: float) -> Config:
    """The first EfficientNet's rule, with channels rounded to the nearest multiple of 8."""
    width = Width(times, least=0)
    return tensorflow(Config(scaled(BASE, width, depth), width(32), head_dim=width(1280), style=STYLE))


S = Config(SMALL, stem_dim=24, style=STYLE)
M = Config(MEDIUM, stem_dim=24, style=STYLE)
L = Config(LARGE, style=STYLE)
XL = Config(XLARGE, style=STYLE)
RW_T = Config(scaled(SMALL, 0.8, 0.9), Width(0.8)(24), head_dim=1024, style=STYLE)
RW_M = Config(scaled(RW, 1.2, (1.2, 1.2, 1.2, 1.2, 1.6, 1.6)), Width(1.2)(24), head_dim=Width(1.2)(1792), style=STYLE)

VARIANTS = {
    "efficientnetv2_s": S,
    "efficientnetv2_m": M,
    "efficientnetv2_l": L,
    "efficientnetv2_xl": XL,
    "efficientnetv2_rw_t": RW_T,
    "efficientnetv2_rw_s": replace(S, stages=RW, head_dim=1792),
    "efficientnetv2_rw_m": RW_M,
    "gc_efficientnetv2_rw_t": replace(RW_T, style=replace(STYLE, gates=GlobalContext)),
    "tf_efficientnetv2_s": tensorflow(S),
    "tf_efficientnetv2_m": tensorflow(M),
    "tf_efficientnetv2_l": tensorflow(L),
    "tf_efficientnetv2_xl": tensorflow(XL),
    "tf_efficientnetv2_b0": base(1.0, 1.0),
    "tf_efficientnetv2_b1": base(1.0, 1.1),
    "tf_efficientnetv2_b2": base(1.1, 1.2),
    "tf_efficientnetv2_b3": base(1.2, 1.4),
}
register(MobileNet, VARIANTS)
