"""MobileNet-V4: one block that is four by which of its depthwise convs are there, for all kinds of phone hardware.

    image -> 3x3 conv of step 2 -> stages of blocks -> 1x1 conv -> mean -> conv of the one cell that is left -> fc
    universal block -> (depthwise conv) -> 1x1 conv -> (depthwise conv) -> 1x1 conv -> + shortcut
    attention block (hybrid) -> attention whose heads share keys and values, of every second row and column early on

`start` is the kernel of the first depthwise conv, `kernel` that of the second; 0: it is not there. Qin et al. 2024,
"MobileNetV4: Universal Models for the Mobile Ecosystem", arXiv:2404.10518; the tables are its appendix's. aa and blur
halve the grid by means and by blurring, after a conv of step 1; they and the narrow rows are timm's (Ross Wightman).
"""

from dataclasses import replace
from functools import partial

from torch import nn

from zoo.families.mobilenet_v1 import Config
from zoo.families.mobilenet_v3 import MobileNetV3
from zoo.layers.mbconv import Conv, FusedInverted, Universal
from zoo.layers.mobile_attention import MultiQuery
from zoo.layers.pool import BlurPool
from zoo.layers.table import Style, scaled
from zoo.registry import register

LAST = (Conv(960, kernel=1),)
CONV_SMALL = (
    (Conv(32, stride=2), Conv(32, kernel=1)),
    (Conv(96, stride=2), Conv(64, kernel=1)),
    (
        Universal(96, stride=2, start=5, kernel=5, expand=3),
        Universal(96, depth=4, expand=2),
        Universal(96, start=3, kernel=0),
    ),
    (
        Universal(128, stride=2, start=3, expand=6),
        Universal(128, start=5, kernel=5),
        Universal(128, kernel=5),
        Universal(128, kernel=5, expand=3),
        Universal(128, depth=2),
    ),
    LAST,
)
MEDIUM_START = (
    (FusedInverted(48, stride=2, expand=4),),
    (Universal(80, stride=2, start=3, kernel=5), Universal(80, start=3, expand=2)),
)
CONV_MEDIUM = (
    *MEDIUM_START,
    (
        Universal(160, stride=2, start=3, kernel=5, expand=6),
        Universal(160, depth=2, start=3),
        Universal(160, start=3, kernel=5),
        Universal(160, start=3),
        Universal(160, start=3, kernel=0),
        Universal(160, kernel=0, expand=2),
        Universal(160, start=3, kernel=0),
    ),
    (
        Universal(256, stride=2, start=5, kernel=5, expand=6),
        Universal(256, start=5, kernel=5),
        Universal(256, depth=2, start=3, kernel=5),
        Universal(256, kernel=0),
        Universal(256, start=3, kernel=0),
        Universal(256, start=3, kernel=5, expand=2),
        Universal(256, start=5, kernel=5),
        Universal(256, depth=2, kernel=0),
        Universal(256, start=5, kernel=0, expand=2),
    ),
    LAST,
)
LARGE_START = (
    (FusedInverted(48, stride=2, expand=4),),
    (Universal(96, stride=2, start=3, kernel=5), Universal(96, start=3)),
)
CONV_LARGE = (
    *LARGE_START,
    (
        Universal(192, stride=2, start=3, kernel=5),
        Universal(192, depth=3, start=3),
        Universal(192, start=3, kernel=5),
        Universal(192, depth=5, start=5),
        Universal(192, start=3, kernel=0),
    ),
    (
        Universal(512, depth=4, stride=2, start=5, kernel=5),
        Universal(512, start=5, kernel=0),
        Universal(512, start=5),
        Universal(512, depth=2, start=5, kernel=0),
        Universal(512, start=5),
        Universal(512, start=5, kernel=5),
        Universal(512, depth=3, start=5, kernel=0),
    ),
    LAST,
)
HYBRID_MEDIUM = (
    *MEDIUM_START,
    (
        Universal(160, stride=2, start=3, kernel=5, expand=6),
        Universal(160, kernel=0, expand=2),
        Universal(160, start=3),
        Universal(160, start=3, kernel=5),
        MultiQuery(160, num_heads=4, key_stride=2),
        Universal(160, start=3),
        MultiQuery(160, num_heads=4, key_stride=2),
        Universal(160, start=3, kernel=0),
        MultiQuery(160, num_heads=4, key_stride=2),
        Universal(160, start=3),
        MultiQuery(160, num_heads=4, key_stride=2),
        Universal(160, start=3, kernel=0),
    ),
    (
        Universal(256, stride=2, start=5, kernel=5, expand=6),
        Universal(256, start=5, kernel=5),
        Universal(256, depth=2, start=3, kernel=5),
        Universal(256, kernel=0, expand=2),
        Universal(256, start=3, kernel=5, expand=2),
        Universal(256, kernel=0, expand=2),
        Universal(256, kernel=0),
        MultiQuery(256, num_heads=4),
        Universal(256, start=3, kernel=0),
        MultiQuery(256, num_heads=4),
        Universal(256, start=5, kernel=5),
        *(MultiQuery(256, num_heads=4), Universal(256, start=5, kernel=0)) * 2,
    ),
    LAST,
)
HYBRID_LARGE = (
    *LARGE_START,
    (
        Universal(192, stride=2, start=3, kernel=5),
        Universal(192, depth=3, start=3),
        Universal(192, start=3, kernel=5),
        Universal(192, depth=2, start=5),
        *(MultiQuery(192, head_dim=48, key_stride=2), Universal(192, start=5)) * 3,
        MultiQuery(192, head_dim=48, key_stride=2),
        Universal(192, start=3, kernel=0),
    ),
    (
        Universal(512, depth=4, stride=2, start=5, kernel=5),
        Universal(512, start=5, kernel=0),
        Universal(512, start=5),
        Universal(512, depth=2, start=5, kernel=0),
        Universal(512, start=5),
        Universal(512, start=5, kernel=5),
        *(MultiQuery(512), Universal(512, start=5, kernel=0)) * 4,
    ),
    LAST,
)


def narrow(cfg: Config, times: float) -> Config:
    """Multiply the blocks' channels; stem and head stay as wide as they are."""
    return replace(cfg, stages=scaled(cfg.stages, times))


BASE = Config(CONV_SMALL, head="norm")
MEDIUM = replace(BASE, stages=CONV_MEDIUM)
LARGE = replace(BASE, stages=CONV_LARGE, stem_dim=24)
MEANS = Style(anti_alias=partial(nn.AvgPool2d, 2))
BLUR = Style(anti_alias=partial(BlurPool, border="constant"))
ATTENDING = replace(BASE, stages=HYBRID_MEDIUM, style=Style(layer_scale=1e-5))
ATTENDING_LARGE = replace(LARGE, stages=HYBRID_LARGE, style=Style(act=nn.GELU, layer_scale=1e-5))

VARIANTS = {
    "mobilenetv4_conv_small": BASE,
    "mobilenetv4_conv_small_035": narrow(BASE, 0.35),
    "mobilenetv4_conv_small_050": narrow(BASE, 0.5),
    "mobilenetv4_conv_medium": MEDIUM,
    "mobilenetv4_conv_large": LARGE,
    "mobilenetv4_conv_aa_medium": replace(MEDIUM, style=MEANS),
    "mobilenetv4_conv_aa_large": replace(LARGE, style=MEANS),
    "mobilenetv4_conv_blur_medium": replace(MEDIUM, style=BLUR),
    "mobilenetv4_hybrid_medium": ATTENDING,
    "mobilenetv4_hybrid_medium_075": narrow(ATTENDING, 0.75),
    "mobilenetv4_hybrid_large": ATTENDING_LARGE,
    "mobilenetv4_hybrid_large_075": narrow(ATTENDING_LARGE, 0.75),
}
register(MobileNetV3, VARIANTS)
