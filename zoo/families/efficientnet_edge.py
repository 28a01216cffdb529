"""EfficientNet-EdgeTPU and MobileNet-EdgeTPU: nets from a search for a chip on which plain convolutions are fast.

    image -> conv, stride 2 -> stages of fused blocks, then of inverted residuals -> 1x1 conv -> mean -> fc
    fused block -> 3x3 conv to 4 or 8 times the channels -> 1x1 conv back, linear -> + shortcut

A plain convolution takes more operations than a depthwise one but uses the chip better. ReLU, no gates. Gupta and Akin
2020, "Accelerator-aware Neural Network Design using AutoML", arXiv:2003.02838. v2 has grouped convs in some blocks:
Akin et al. 2022, "Searching for Efficient Neural Architectures for On-Device ML on Edge TPUs", arXiv:2204.14007.
The pruned rows have the same shapes, and zeros among their weights.
"""

from zoo.families.mobilenet_v1 import Config, MobileNet, tensorflow
from zoo.layers.mbconv import Conv, FusedInverted, Inverted
from zoo.layers.table import scaled
from zoo.layers.width import Width
from zoo.registry import register

STAGES = (
    (FusedInverted(24, expand=4, shortcut=False),),
    (FusedInverted(32, depth=2, stride=2, expand=8),),
    (FusedInverted(48, depth=4, stride=2, expand=8),),
    (Inverted(96, depth=5, stride=2, kernel=5, expand=8),),
    (Inverted(144, depth=4, kernel=5, expand=8),),
    (Inverted(192, depth=2, stride=2, kernel=5, expand=8),),
)
MOBILE_STAGES = (
    (Conv(16, kernel=1),),
    (FusedInverted(32, stride=2, expand=8), FusedInverted(32, depth=3, expand=4)),
    (FusedInverted(48, stride=2, expand=8), FusedInverted(48, depth=3, expand=4)),
    (Inverted(96, stride=2, expand=8), Inverted(96, depth=3, expand=4)),
    (Inverted(96, expand=8, shortcut=False), Inverted(96, depth=3, expand=4)),
    (Inverted(160, stride=2, kernel=5, expand=8), Inverted(160, depth=3, kernel=5, expand=4)),
    (Inverted(192, expand=8),),
)


def edge(times: float, depth: float) -> Config:
    """EfficientNet's rule. The first stage expands from its own number of channels, not from the stem's."""
    width = Width(times)
    (first,), *rest = scaled(STAGES, width, depth)
    first = FusedInverted(first.dim, first.depth, hidden=4 * first.dim, shortcut=False)
    return Config(((first,), *rest), width(32), head_dim=width(1280))


def mobile_v2(dims: tuple[int, ...], group: int, head_dim: int, stem_dim: int = 64, stem_kernel: int = 5) -> Config:
    """Channels of each stage, and of each group in grouped convs."""
    d0, d1, d2, d3, d4, d5, d6 = dims
    stages = (
        (Conv(d0, kernel=1),),
        (FusedInverted(d1, stride=2, expand=8), FusedInverted(d1, expand=4, group_width=group)),
        (
            FusedInverted(d2, stride=2, expand=8),
            FusedInverted(d2, expand=4, group_width=group),
            FusedInverted(d2, expand=4),
            FusedInverted(d2, expand=4, group_width=group),
        ),
        (FusedInverted(d3, stride=2, expand=8), Inverted(d3, depth=3, expand=4)),
        (Inverted(d4, expand=8), Inverted(d4, depth=3, expand=4)),
        (Inverted(d5, stride=2, expand=8), Inverted(d5, depth=3, expand=4)),
        (Inverted(d6, expand=8),),
    )
    return Config(stages, stem_dim, stem_kernel, head_dim=head_dim)


SMALL = edge(1.0, 1.0)
MEDIUM = edge(1.0, 1.1)
LARGE = edge(1.2, 1.4)

VARIANTS = {
    "efficientnet_es": SMALL,
    "efficientnet_es_pruned": SMALL,
    "efficientnet_em": MEDIUM,
    "efficientnet_el": LARGE,
    "efficientnet_el_pruned": LARGE,
    "tf_efficientnet_es": tensorflow(SMALL),
    "tf_efficientnet_em": tensorflow(MEDIUM),
    "tf_efficientnet_el": tensorflow(LARGE),
    "mobilenet_edgetpu_100": Config(MOBILE_STAGES),
    "mobilenet_edgetpu_v2_xs": mobile_v2((16, 32, 48, 96, 144, 160, 192), 64, 1280, stem_dim=32, stem_kernel=3),
    "mobilenet_edgetpu_v2_s": mobile_v2((24, 48, 64, 128, 160, 192, 256), 64, 1280),
    "mobilenet_edgetpu_v2_m": mobile_v2((32, 64, 80, 160, 192, 240, 320), 64, 1344),
    "mobilenet_edgetpu_v2_l": mobile_v2((32, 64, 96, 192, 240, 256, 384), 128, 1408, stem_kernel=7),
}
register(MobileNet, VARIANTS)
