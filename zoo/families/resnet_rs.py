"""ResNet-RS: the ResNet of 2015 with later small improvements, scaled in depth and image size together.

    image -> three 3x3 convs -> 3x3 conv in place of the max pool -> 4 stages of SE bottlenecks -> mean -> fc

ResNet-D's stem and shortcuts, a strided conv as the pool, and squeeze-and-excitation a quarter as wide as its branch.
Bello et al. 2021, "Revisiting ResNets: Improved Training and Scaling Strategies", arXiv:2103.07579.
"""

from dataclasses import replace

from torch import nn

from zoo.families.resnet import RESNET50, RESNET101, RESNET152, RESNET200, ResNet, resnet_d
from zoo.layers.channel_attention import SqueezeExcite
from zoo.layers.conv import conv
from zoo.registry import register


def conv_pool(dim: int) -> nn.Sequential:
    """(B, dim, H, W) -> (B, dim, H/2, W/2), rounded up."""
    return nn.Sequential(conv(dim, dim, 3, 2), nn.BatchNorm2d(dim), nn.ReLU(inplace=True))


RS = resnet_d(RESNET50, pool=conv_pool, attention=lambda dim: SqueezeExcite(dim, dim // 4))

VARIANTS = {
    "resnetrs50": RS,
    "resnetrs101": replace(RS, depths=RESNET101.depths),
    "resnetrs152": replace(RS, depths=RESNET152.depths),
    "resnetrs200": replace(RS, depths=RESNET200.depths),
    "resnetrs270": replace(RS, depths=(4, 29, 53, 4)),
    "resnetrs350": replace(RS, depths=(4, 36, 72, 4)),
    "resnetrs420": replace(RS, depths=(4, 44, 87, 4)),
}
register(ResNet, VARIANTS)
