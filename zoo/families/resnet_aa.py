"""Anti-aliased ResNet: smooth before dropping pixels, so that a shift by one pixel hardly changes the output.

    where a ResNet's conv or max pool has stride 2, here it has stride 1, and a blur or a mean halves the grid after it

The blur rows smooth by (1 2 1)/4 and keep the stem's max, at stride 1. The aa rows take 2x2 means, in the stem
instead of the max, which need an even grid: sides that are multiples of 32 are safe. Zhang 2019, "Making Convolutional
Networks Shift-Invariant Again", arXiv:1904.11486. The aa rows are timm's own.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from zoo.families.resnet import RESNET18, RESNET34, RESNET50, RESNET101, ResNet, resnet_d
from zoo.layers.pool import BlurPool, HalveByMean
from zoo.registry import register

blur = partial(replace, anti_alias=BlurPool, pool=lambda dim: nn.Sequential(nn.MaxPool2d(3, 1, 1), BlurPool()))
mean = partial(replace, anti_alias=HalveByMean, pool=lambda dim: nn.AvgPool2d(2))

VARIANTS = {
    "resnetblur18": blur(RESNET18),
    "resnetblur50": blur(RESNET50),
    "resnetblur50d": blur(resnet_d(RESNET50)),
    "resnetblur101d": blur(resnet_d(RESNET101)),
    "resnetaa34d": mean(resnet_d(RESNET34)),
    "resnetaa50": mean(RESNET50),
    "resnetaa50d": mean(resnet_d(RESNET50)),
    "resnetaa101d": mean(resnet_d(RESNET101)),
}
register(ResNet, VARIANTS)
