"""ResNeXt: a ResNet whose 3x3 conv is split into groups, many narrow paths for the cost of one wide one.

    bottleneck -> 1x1 conv -> 3x3 conv, each group of channels on its own -> 1x1 conv -> + shortcut -> relu

32x4d: 32 groups of 4 channels in the first stage, twice as many channels in each stage after it. Xie et al. 2016,
"Aggregated Residual Transformations for Deep Neural Networks", arXiv:1611.05431. The wide ones were trained on
Instagram hashtags: Mahajan et al. 2018, arXiv:1805.00932. The d row has ResNet-D's stem and shortcuts.
"""

from dataclasses import replace

from zoo.families.resnet import RESNET50, RESNET101, ResNet, resnet_d
from zoo.registry import register

VARIANTS = {
    "resnext50_32x4d": replace(RESNET50, groups=32, group_width=4),
    "resnext50d_32x4d": resnet_d(RESNET50, groups=32, group_width=4),
    "resnext101_32x4d": replace(RESNET101, groups=32, group_width=4),
    "resnext101_32x8d": replace(RESNET101, groups=32, group_width=8),
    "resnext101_32x16d": replace(RESNET101, groups=32, group_width=16),
    "resnext101_32x32d": replace(RESNET101, groups=32, group_width=32),
    "resnext101_64x4d": replace(RESNET101, groups=64, group_width=4),
}
register(ResNet, VARIANTS)
