"""SE-ResNet, SE-ResNeXt and SENet-154: a ResNet whose every branch ends in squeeze-and-excitation.

    branch -> convs -> gates: mean over the grid, two small layers, sigmoid -> each channel times its gate

Hu et al. 2017, "Squeeze-and-Excitation Networks", arXiv:1709.01507. SENet-154 also halves the first conv of each
bottleneck and has three 3x3 convs in its stem and 3x3 convs in its shortcuts. The d and t rows are ResNet-D's, the aa
rows anti-aliased (timm's own).
"""

from dataclasses import replace
from functools import partial

from zoo.families.resnet import (
    RESNET18,
    RESNET26,
    RESNET34,
    RESNET50,
    RESNET101,
    RESNET152,
    RESNET200,
    RESNET269,
    ResNet,
    resnet_d,
    resnet_s,
    resnet_t,
)
from zoo.families.resnet_aa import mean
from zoo.layers.channel_attention import SqueezeExcite
from zoo.registry import register

se = partial(replace, attention=SqueezeExcite)

VARIANTS = {
    "seresnet18": se(RESNET18),
    "seresnet34": se(RESNET34),
    "seresnet50": se(RESNET50),
    "seresnet50t": se(resnet_t(RESNET50)),
    "seresnet101": se(RESNET101),
    "seresnet152": se(RESNET152),
    "seresnet152d": se(resnet_d(RESNET152)),
    "seresnet200d": se(resnet_d(RESNET200)),
    "seresnet269d": se(resnet_d(RESNET269)),
    "seresnext26d_32x4d": se(resnet_d(RESNET26), groups=32, group_width=4),
    "seresnext26t_32x4d": se(resnet_t(RESNET26), groups=32, group_width=4),
    "seresnext50_32x4d": se(RESNET50, groups=32, group_width=4),
    "seresnext101_32x4d": se(RESNET101, groups=32, group_width=4),
    "seresnext101_32x8d": se(RESNET101, groups=32, group_width=8),
    "seresnext101_64x4d": se(RESNET101, groups=64, group_width=4),
    "seresnext101d_32x8d": se(resnet_d(RESNET101), groups=32, group_width=8),
    "seresnetaa50d": se(mean(resnet_d(RESNET50))),
    "seresnextaa101d_32x8d": se(mean(resnet_d(RESNET101)), groups=32, group_width=8),
    "seresnextaa201d_32x8d": se(
        mean(resnet_s(RESNET200)), depths=(3, 24, 36, 4), down_kernel=0, groups=32, group_width=8
    ),
    "senet154": se(resnet_s(RESNET152), groups=64, group_width=4, first_reduce=2, down_kernel=3),
}
register(ResNet, VARIANTS)
