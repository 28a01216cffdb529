"""Xception: Inception taken to its end, where each channel is filtered by itself and a 1x1 conv mixes them.

    image -> two 3x3 convs (H/2) -> 12 blocks in 4 stages, the first of each halves the grid -> two separable convs
    -> mean -> fc
    block -> relu -> separable conv, two or three times -> (max pool) -> + shortcut
    separable conv -> 3x3 depthwise conv -> 1x1 conv -> batch norm

Chollet 2016, "Xception: Deep Learning with Depthwise Separable Convolutions", arXiv:1610.02357.
"""

from collections import OrderedDict

from torch import Tensor, nn

from zoo.base import CONVOLUTIONS, Config, MeanReadout
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.init import init_fan_out
from zoo.probe import tap
from zoo.registry import register

# Channels after each separable conv of each block; a block that changes their number halves the grid.
BLOCKS = ((128, 128), (256, 256), (728, 728), *[(728, 728, 728)] * 8, (728, 1024))
STAGES = {1: "stage1", 2: "stage2", 11: "stage3", 12: "stage4"}  # by the number of their last block


def separable(dim_in: int, dim: int) -> nn.Sequential:
    """Make a depthwise conv -> 1x1 conv. (B, dim_in, H, W) -> (B, dim, H, W)."""
    return nn.Sequential(OrderedDict(conv1=conv(dim_in, dim_in, 3, groups=dim_in), pointwise=conv(dim_in, dim, 1)))


class Block(nn.Module):
    """A branch added to the shortcut. (B, dim, H, W) -> same, or (B, dims[-1], H/2, W/2), rounded up.

    The very first block has no relu before its first conv, as it comes right after another one.
    """

    def __init__(self, dim_in: int, dims: tuple[int, ...], first: bool, drop_path: float):
        super().__init__()
        halves, layers = dim_in != dims[-1], list[nn.Module]()
        self.skip = conv(dim_in, dims[-1], 1, 2) if halves else nn.Identity()
        self.skipbn = nn.BatchNorm2d(dims[-1]) if halves else nn.Identity()
        for i, dim in enumerate(dims):
            layers += [nn.ReLU(inplace=i > 0), separable(dim_in, dim), nn.BatchNorm2d(dim)]
            dim_in = dim
        pool = [nn.MaxPool2d(3, 2, 1)] if halves else []
        self.rep = nn.Sequential(*layers[first:], *pool)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop_path(self.rep(x))
        y += self.skipbn(self.skip(x))
        return y


class Xception(MeanReadout):
    """Image (B, 3, H, W) -> features (B, 2048, H/32, W/32) -> logits (B, num_classes).

    The first two convs are not padded: the grid's outer cells leave a margin of the image.
    """

    classifier_key = "fc"
    no_attention = CONVOLUTIONS
    smallest = 7

    def __init__(self, cfg: Config):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64)
        dim, (rates,) = 64, drop_path_rates(cfg.drop_path, (len(BLOCKS),))
        for i, (dims, rate) in enumerate(zip(BLOCKS, rates, strict=True), 1):
            self.add_module(f"block{i}", Block(dim, dims, i == 1, rate))
            dim = dims[-1]
        self.conv3, self.bn3 = separable(dim, 1536), nn.BatchNorm2d(1536)
        self.conv4, self.bn4 = separable(1536, 2048), nn.BatchNorm2d(2048)
        self.drop = nn.Dropout(cfg.drop)
        self.num_features, self.num_classes = 2048, cfg.num_classes
        self.fc = classifier(self.num_features, cfg.num_classes)
        self.apply(init_fan_out)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu_()
        x = self.bn2(self.conv2(x)).relu_()
        for i in range(1, len(BLOCKS) + 1):
            x = self.get_submodule(f"block{i}")(x)
            x = tap(STAGES[i], x, "NCHW") if i in STAGES else x
        x = self.bn3(self.conv3(x)).relu_()
        return tap("cam", self.bn4(self.conv4(x)).relu_(), "NCHW")


VARIANTS = {"legacy_xception": Config()}
register(Xception, VARIANTS)
