"""StarNet: two linear branches are multiplied, so that a narrow block computes with products of all pairs of channels.

    image -> 3x3 conv (H/2) -> 4 stages, each a 3x3 conv that halves the grid, then blocks -> norm -> mean -> fc
    block -> 7x7 depthwise conv, norm -> relu6(1x1 conv) * 1x1 conv, both wide -> 1x1 conv back, norm
          -> 7x7 depthwise conv -> + shortcut

Ma et al. 2024, "Rewrite the Stars", arXiv:2403.19967; the star is the sign of the product. The very small sizes s050,
s100 and s150 are named after their parameters: about 0.5, 1.0 and 1.5 million.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from zoo import base
from zoo.base import MeanReadout
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.probe import tap
from zoo.registry import register

STEM_DIM = 32
RELU6 = partial(nn.ReLU6, inplace=True)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one StarNet from another."""

    width: int  # channels of the first stage; each later stage has twice as many
    depths: tuple[int, ...]  # blocks in each stage
    mlp_ratio: int = 4  # channels of each factor of the product, over the stage's


def conv(dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, norm: bool = True) -> nn.Sequential:
    """Make a conv with a bias, and its batch norm. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    layers: dict[str, nn.Module] = {"conv": nn.Conv2d(dim_in, dim, kernel, stride, kernel // 2, groups=groups)}
    if norm:
        layers["bn"] = nn.BatchNorm2d(dim)
    return nn.Sequential(OrderedDict(layers))


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float, cfg: Config):
        super().__init__()
        hidden = cfg.mlp_ratio * dim
        self.dwconv = conv(dim, dim, 7, groups=dim)
        self.f1 = conv(dim, hidden, 1, norm=False)
        self.f2 = conv(dim, hidden, 1, norm=False)
        self.g = conv(hidden, dim, 1)
        self.dwconv2 = conv(dim, dim, 7, groups=dim, norm=False)
        self.act = RELU6()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv(x)
        y = self.act(self.f1(y)) * self.f2(y)  # (B, hidden, H, W)
        return x + self.drop_path(self.dwconv2(self.g(y)))


def stage(dim_in: int, dim: int, drop_paths: list[float], cfg: Config) -> nn.Sequential:
    """Halve the grid, then blocks. (B, dim_in, H, W) -> (B, dim, H/2, W/2), rounded up."""
    return nn.Sequential(conv(dim_in, dim, 3, 2), *(Block(dim, rate, cfg) for rate in drop_paths))


class StarNet(MeanReadout):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "norm_mean"
    classifier_key = "head"
    no_attention = "its products are of two branches at the same position, and the rest is convolutions"

    def __init__(self, cfg: Config):
        super().__init__()
        dims = [STEM_DIM, *(cfg.width * 2**i for i in range(len(cfg.depths)))]
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.num_features, self.num_classes = dims[-1], cfg.num_classes
        self.stem = nn.Sequential(conv(3, STEM_DIM, 3, 2), RELU6())
        self.stages = nn.Sequential(*(stage(dims[i], dims[i + 1], rates[i], cfg) for i in range(len(rates))))
        self.norm = nn.BatchNorm2d(dims[-1])
        self.drop = nn.Dropout(cfg.drop)
        self.head = classifier(dims[-1], cfg.num_classes)
        self.apply(_init)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, blocks in enumerate(self.stages, 1):
            x = tap(f"stage{i}", blocks(x), "NCHW")
        return tap("cam", self.norm(x), "NCHW")


def _init(module: nn.Module) -> None:
    init_linear(module)
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)


VARIANTS = {
    "starnet_s1": Config(24, (2, 2, 8, 3)),
    "starnet_s2": Config(32, (1, 2, 6, 2)),
    "starnet_s3": Config(32, (2, 2, 8, 4)),
    "starnet_s4": Config(32, (3, 3, 12, 5)),
    "starnet_s050": Config(16, (1, 1, 3, 1), mlp_ratio=3),
    "starnet_s100": Config(20, (1, 2, 4, 1)),
    "starnet_s150": Config(24, (1, 2, 4, 2), mlp_ratio=3),
}
register(StarNet, VARIANTS)
