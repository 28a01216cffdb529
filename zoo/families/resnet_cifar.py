"""ResNet for CIFAR: the 32x32 ResNets of the original paper, thin and deep, with shortcuts that hold no weights.

    image -> 3x3 conv -> 3 stages of n blocks at 16, 32, 64 channels on a grid of 32, 16, 8 -> mean -> fc
    block -> 3x3 conv, bn, relu -> 3x3 conv, bn -> + shortcut -> relu

Depth is 6n + 2. Where a stage halves the grid, the shortcut takes every second pixel and fills the new channels with
zeros (the paper's option A). He et al. 2015, "Deep Residual Learning for Image Recognition", section 4.2,
arXiv:1512.03385. The wide rows multiply the channels (Zagoruyko and Komodakis 2016, arXiv:1605.07146).

ResNet-9 is the shallow, wide one of those who train CIFAR-10 in seconds:

    image -> 3x3 conv -> 3 stages on a grid of 16, 8, 4 -> mean -> fc
    stage -> 3x3 conv, max pool, bn, relu -> (first and last:) + two 3x3 convs of it, each with bn, relu

It is Page's (2018, "How to train your ResNet", DAWNBench) with thinner stages, a mean at the end, and pooling before
the norm, which costs less (Jordan 2024, arXiv:2404.00498).
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.base import Backbone
from zoo.layers.head import ClassifierHead, classifier
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config:
    """What tells one CIFAR ResNet from another."""

    depth: int  # 6n + 2 layers with weights
    width: int = 16  # channels of the first stage
    num_classes: int = 10


@dataclass(frozen=True)
class ShallowConfig:
    """What tells one ResNet-9 from another."""

    dims: tuple[int, int, int, int] = (32, 64, 160, 224)  # channels of the stem and of the stages
    num_classes: int = 10


class Block(nn.Module):
    """(B, C, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int):
        super().__init__()
        self.stride, self.new_channels = stride, dim - dim_in
        self.conv1 = nn.Conv2d(dim_in, dim, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.new_channels:
            before = self.new_channels // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))
        return F.relu(x + y)


class CifarResNet(Backbone):
    """Image (B, 3, H, W) -> features (B, 4 * width, H/4, W/4) -> logits (B, num_classes)."""

    readout = "mean"
    classifier_key = "fc"
    no_attention = "it is made of convolutions alone"

    def __init__(self, cfg: Config):
        super().__init__()
        n, remainder = divmod(cfg.depth - 2, 6)
        if remainder:
            raise ValueError(f"A CIFAR ResNet has 6n + 2 layers; {cfg.depth} is not of that form.")
        dims = [cfg.width, 2 * cfg.width, 4 * cfg.width]
        self.num_features, self.num_classes = dims[-1], cfg.num_classes
        self.conv1 = nn.Conv2d(3, cfg.width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cfg.width)
        for i, dim in enumerate(dims):
            first = Block(dims[max(i - 1, 0)], dim, stride=2 if i else 1)
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *(Block(dim, dim, 1) for _ in range(n - 1))))
        self.fc = classifier(dims[-1], cfg.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for i in (1, 2, 3):
            x = tap(f"stage{i}", self.get_submodule(f"layer{i}")(x), "NCHW")
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.fc(x)


class ConvNorm(nn.Sequential):
    """(B, C, H, W) -> (B, dim, H, W), or (B, dim, H/2, W/2) where the largest of each 2x2 is kept."""

    def __init__(self, dim_in: int, dim: int, pool: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim, 3, 1, 1, bias=False)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.bn = nn.BatchNorm2d(dim)
        self.act = nn.ReLU()


class Pair(nn.Module):
    """x + two convolutions of it; the shape stays."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = ConvNorm(dim, dim)
        self.conv2 = ConvNorm(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


class ResNet9(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/8, W/8) -> logits (B, num_classes)."""

    readout = "mean"
    no_attention = CifarResNet.no_attention

    def __init__(self, cfg: ShallowConfig):
        super().__init__()
        stem, first, second, third = cfg.dims
        self.num_features, self.num_classes = third, cfg.num_classes
        self.stem = ConvNorm(3, stem)
        self.layer1 = nn.Sequential(ConvNorm(stem, first, pool=True), Pair(first))
        self.layer2 = ConvNorm(first, second, pool=True)
        self.layer3 = nn.Sequential(ConvNorm(second, third, pool=True), Pair(third))
        self.head = ClassifierHead(third, cfg.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = tap("stage1", self.layer1(self.stem(x)), "NCHW")
        x = tap("stage2", self.layer2(x), "NCHW")
        x = tap("stage3", self.layer3(x), "NCHW")
        return tap("cam", x, "NCHW")


PAPER = {
    "resnet20_cifar": Config(20),
    "resnet32_cifar": Config(32),
    "resnet44_cifar": Config(44),
    "resnet56_cifar": Config(56),
    "resnet110_cifar": Config(110),
    "resnet20x2_cifar": Config(20, width=32),
}
SHALLOW = {"resnet9_cifar": ShallowConfig()}
VARIANTS = PAPER | SHALLOW
register(CifarResNet, PAPER)
register(ResNet9, SHALLOW)
