"""ResNet-9: a shallow, wide ResNet that learns CIFAR-10 in seconds.

    image -> 3x3 conv -> 3 stages on a grid of 16, 8, 4 -> mean -> fc
    stage -> 3x3 conv, max pool, bn, relu -> (first and last:) + two 3x3 convs of it, each with bn, relu

Page 2018, "How to train your ResNet", DAWNBench; here with thinner stages, a mean at the end, and the cheaper pooling
before the norm (Jordan 2024, arXiv:2404.00498). The size is this project's.
"""

from torch import Tensor, nn

from zoo.base import CONVOLUTIONS, Backbone, Config
from zoo.layers.conv import ConvNorm
from zoo.layers.drop import DropPath
from zoo.layers.head import ClassifierHead
from zoo.probe import tap
from zoo.registry import register

STEM, FIRST, SECOND, THIRD = 32, 64, 160, 224  # channels


class PoolConv(ConvNorm):
    """(B, dim_in, H, W) -> (B, dim, H, W), or (B, dim, H/2, W/2) with max pooling."""

    def __init__(self, dim_in: int, dim: int, pool: bool = False):
        super().__init__(dim_in, dim, 3, act=nn.ReLU)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.pool(self.conv(x)))


class Pair(nn.Module):
    """x + two convolutions of it. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float):
        super().__init__()
        self.conv1 = PoolConv(dim, dim)
        self.conv2 = PoolConv(dim, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.conv2(self.conv1(x)))


class ResNet9(Backbone):
    """Image (B, 3, H, W) -> features (B, 224, H/8, W/8) -> logits (B, num_classes)."""

    readout = "mean"
    no_attention = CONVOLUTIONS
    smallest = 8

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = THIRD, cfg.num_classes
        self.stem = PoolConv(3, STEM)
        self.layer1 = nn.Sequential(PoolConv(STEM, FIRST, pool=True), Pair(FIRST, 0.0))
        self.layer2 = PoolConv(FIRST, SECOND, pool=True)
        self.layer3 = nn.Sequential(PoolConv(SECOND, THIRD, pool=True), Pair(THIRD, cfg.drop_path))
        self.head = ClassifierHead(THIRD, cfg.num_classes, cfg.drop)

    def forward_features(self, x: Tensor) -> Tensor:
        x = tap("stage1", self.layer1(self.stem(x)), "NCHW")
        x = tap("stage2", self.layer2(x), "NCHW")
        x = tap("stage3", self.layer3(x), "NCHW")
        return tap("cam", x, "NCHW")


VARIANTS = {"resnet9_cifar": Config(num_classes=10, img_size=32)}
register(ResNet9, VARIANTS)
