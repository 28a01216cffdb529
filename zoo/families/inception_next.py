"""InceptionNeXt: ConvNeXt whose large depthwise kernel is divided among channels: a square, a row, a column, or none.

    image -> 4x4 patches -> 4 stages of blocks, the grid halved before each but the first -> mean -> MLP
    block -> depthwise convs of a few channels, 3x3, 1x11 and 11x1; the others stay -> norm -> MLP -> + shortcut

Yu et al. 2023, "InceptionNeXt: When Inception Meets ConvNeXt", arXiv:2303.16900.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import MlpClassifier
from zoo.layers.init import init_truncated
from zoo.layers.mlp import Mlp
from zoo.probe import tap
from zoo.registry import register

RATIOS = 4, 4, 4, 3  # hidden width of the MLP over dim, in each stage
HEAD_RATIO = 3  # the same in the head


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one InceptionNeXt from another."""

    depths: tuple[int, ...]  # blocks in each stage
    dims: tuple[int, ...]  # channels in each stage
    band: int = 11  # length of the row and the column
    share: float = 1 / 8  # channels of each of the three kernels, over dim


class InceptionConv(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, cfg: Config):
        super().__init__()
        part, band, pad = int(cfg.share * dim), cfg.band, cfg.band // 2
        self.parts = dim - 3 * part, part, part, part
        self.dwconv_hw = nn.Conv2d(part, part, 3, padding=1, groups=part)
        self.dwconv_w = nn.Conv2d(part, part, (1, band), padding=(0, pad), groups=part)
        self.dwconv_h = nn.Conv2d(part, part, (band, 1), padding=(pad, 0), groups=part)

    def forward(self, x: Tensor) -> Tensor:
        still, square, row, column = x.split(self.parts, 1)
        return torch.cat([still, self.dwconv_hw(square), self.dwconv_w(row), self.dwconv_h(column)], 1)


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, i: int, drop_path: float, cfg: Config):
        super().__init__()
        dim = cfg.dims[i]
        self.token_mixer, self.norm = InceptionConv(dim, cfg), nn.BatchNorm2d(dim)
        self.mlp = Mlp(dim, RATIOS[i] * dim, conv=True)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mlp(self.norm(self.token_mixer(x)))
        return torch.addcmul(x, self.drop_path(y), self.gamma[:, None, None])


def stage(i: int, drop_paths: list[float], cfg: Config) -> nn.Sequential:
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2)."""
    dim_in, dim = cfg.dims[max(i - 1, 0)], cfg.dims[i]
    down = [nn.BatchNorm2d(dim_in), nn.Conv2d(dim_in, dim, 2, 2)] if i else []
    blocks = nn.Sequential(*(Block(i, rate, cfg) for rate in drop_paths))
    return nn.Sequential(OrderedDict(downsample=nn.Sequential(*down), blocks=blocks))


class InceptionNeXt(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32) -> logits (B, num_classes)."""

    readout = "mean"
    smallest = 32
    classifier_key = "head.fc2"
    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        dim = cfg.dims[-1]
        self.num_features, self.num_classes = HEAD_RATIO * dim, cfg.num_classes
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stem = nn.Sequential(nn.Conv2d(3, cfg.dims[0], 4, 4), nn.BatchNorm2d(cfg.dims[0]))
        self.stages = nn.Sequential(*(stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.head = MlpClassifier(dim, HEAD_RATIO * dim, cfg.num_classes, nn.GELU, cfg.drop)
        self.apply(init_truncated)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, blocks in enumerate(self.stages, 1):
            x = tap(f"stage{i}", blocks(x), "NCHW")
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x.mean((2, 3)), pre_logits)


VARIANTS = {
    "inception_next_atto": Config((2, 2, 6, 2), (40, 80, 160, 320), band=9, share=1 / 4),
    "inception_next_tiny": Config((3, 3, 9, 3), (96, 192, 384, 768)),
    "inception_next_small": Config((3, 3, 27, 3), (96, 192, 384, 768)),
    "inception_next_base": Config((3, 3, 27, 3), (128, 256, 512, 1024)),
}
register(InceptionNeXt, VARIANTS)
