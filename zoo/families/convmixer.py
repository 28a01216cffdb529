"""ConvMixer: patches, then one block over and over on one grid, a depthwise convolution and a 1x1 one.

    image -> 7x7 patches, GELU, norm -> blocks -> mean -> fc
    block -> 9x9 depthwise conv, GELU, norm -> + shortcut -> 1x1 conv, GELU, norm

Trockman and Kolter 2022, "Patches Are All You Need?", arXiv:2201.09792. All norms are batch norms. In a name stand the
channels and the blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, MeanReadout
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath
from zoo.layers.head import classifier
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one ConvMixer from another."""

    dim: int  # channels
    depth: int  # blocks
    kernel: int = 9  # of the depthwise convs
    patch: int = 7  # side of a patch in pixels
    act: Callable[[], nn.Module] = nn.GELU  # after every conv


class Residual(nn.Module):
    """fn(x) + x. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, fn: nn.Module, drop_path: float):
        super().__init__()
        self.fn, self.drop_path = fn, DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.fn(x))


def layers(conv: nn.Conv2d, cfg: Config) -> tuple[nn.Module, ...]:
    """Make a conv with what follows it. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
    return conv, cfg.act(), nn.BatchNorm2d(cfg.dim)


def block(cfg: Config) -> nn.Sequential:
    """(B, dim, H, W) -> (B, dim, H, W)."""
    mixing = nn.Sequential(*layers(conv(cfg.dim, cfg.dim, cfg.kernel, groups=cfg.dim, bias=True), cfg))
    return nn.Sequential(Residual(mixing, cfg.drop_path), *layers(nn.Conv2d(cfg.dim, cfg.dim, 1), cfg))


class ConvMixer(MeanReadout):
    """Image (B, 3, H, W) -> features (B, dim, H/patch, W/patch) -> logits (B, num_classes)."""

    readout = "norm_mean"
    classifier_key = "head"
    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        self.smallest, self.num_features, self.num_classes = cfg.patch, cfg.dim, cfg.num_classes
        self.stem = nn.Sequential(*layers(nn.Conv2d(3, cfg.dim, cfg.patch, cfg.patch), cfg))
        self.blocks = nn.Sequential(*(block(cfg) for _ in range(cfg.depth)))
        self.drop = nn.Dropout(cfg.drop)
        self.head = classifier(cfg.dim, cfg.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, layer in enumerate(self.blocks, 1):
            x = tap(f"stage{i}", layer(x), "NCHW")
        return tap("cam", x, "NCHW")


VARIANTS = {
    "convmixer_1536_20": Config(1536, 20),
    "convmixer_768_32": Config(768, 32, kernel=7, act=nn.ReLU),
    "convmixer_1024_20_ks9_p14": Config(1024, 20, patch=14),
}
register(ConvMixer, VARIANTS)
