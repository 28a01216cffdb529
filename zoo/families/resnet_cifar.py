"""ResNet for CIFAR: the 32x32 ResNets of the original paper, thin and deep, with shortcuts that have no weights.

    image -> 3x3 conv -> 3 stages of n blocks at 16, 32, 64 channels on a grid of 32, 16, 8 -> mean -> fc
    block -> 3x3 conv, bn, relu -> 3x3 conv, bn -> + shortcut -> relu

Depth is 6n + 2. Where a stage halves the grid, the shortcut takes every second pixel and fills the new channels with
zeros (the paper's option A). He et al. 2015, "Deep Residual Learning for Image Recognition", section 4.2,
arXiv:1512.03385. The wide rows multiply the channels (Zagoruyko and Komodakis 2016, arXiv:1605.07146).
"""

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, MeanReadout
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one CIFAR ResNet from another."""

    depth: int  # 6n + 2 layers with weights
    width: int = 16  # channels of the first stage


class Block(nn.Module):
    """(B, C, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float):
        super().__init__()
        self.stride, self.new_channels = stride, dim - dim_in
        self.conv1, self.bn1 = conv(dim_in, dim, 3, stride), nn.BatchNorm2d(dim)
        self.conv2, self.bn2 = conv(dim, dim, 3), nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop_path(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        if self.new_channels:
            before = self.new_channels // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))
        return F.relu(x + y)


class CifarResNet(MeanReadout):
    """Image (B, 3, H, W) -> features (B, 4 * width, H/4, W/4) -> logits (B, num_classes)."""

    classifier_key = "fc"
    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        n, remainder = divmod(cfg.depth - 2, 6)
        if remainder:
            raise ValueError(f"A CIFAR ResNet has 6n + 2 layers, not {cfg.depth}: choose 20, 32, 44, 56 or 110.")
        dims = [cfg.width, 2 * cfg.width, 4 * cfg.width]
        self.num_features, self.num_classes = dims[-1], cfg.num_classes
        self.conv1, self.bn1 = conv(3, cfg.width, 3), nn.BatchNorm2d(cfg.width)
        for i, (first, *rest) in enumerate(drop_path_rates(cfg.drop_path, (n, n, n))):
            dim = dims[i]
            blocks = [Block(dims[max(i - 1, 0)], dim, 2 if i else 1, first), *(Block(dim, dim, 1, r) for r in rest)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.drop = nn.Dropout(cfg.drop)
        self.fc = classifier(dims[-1], cfg.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for i in (1, 2, 3):
            x = tap(f"stage{i}", self.get_submodule(f"layer{i}")(x), "NCHW")
        return tap("cam", x, "NCHW")


cifar = partial(Config, num_classes=10, img_size=32)

VARIANTS = {
    "resnet20_cifar": cifar(20),
    "resnet32_cifar": cifar(32),
    "resnet44_cifar": cifar(44),
    "resnet56_cifar": cifar(56),
    "resnet110_cifar": cifar(110),
    "resnet20x2_cifar": cifar(20, width=32),
}
register(CifarResNet, VARIANTS)
