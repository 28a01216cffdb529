"""ResNet for CIFAR: the 32x32 ResNets of the original paper, thin and deep, with shortcuts that hold no weights.

    image -> 3x3 conv -> 3 stages of n blocks at 16, 32, 64 channels on a grid of 32, 16, 8 -> mean -> fc
    block -> 3x3 conv, bn, relu -> 3x3 conv, bn -> + shortcut -> relu

Depth is 6n + 2. Where a stage halves the grid, the shortcut takes every second pixel and fills the new channels with
zeros (the paper's option A). He et al. 2015, "Deep Residual Learning for Image Recognition", section 4.2,
arXiv:1512.03385. The wide rows multiply the channels (Zagoruyko and Komodakis 2016, arXiv:1605.07146).
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.base import Backbone
from zoo.layers.head import classifier
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config:
    """What tells one CIFAR ResNet from another."""

    depth: int  # 6n + 2 layers with weights
    width: int = 16  # channels of the first stage
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


VARIANTS = {
    "resnet20_cifar": Config(20),
    "resnet32_cifar": Config(32),
    "resnet44_cifar": Config(44),
    "resnet56_cifar": Config(56),
    "resnet110_cifar": Config(110),
    "resnet20x2_cifar": Config(20, width=32),
}
register(CifarResNet, VARIANTS)
