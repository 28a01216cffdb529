"""RDNet: a DenseNet made again with what ConvNets have learned since: large kernels, wide MLPs, one norm a layer.

    image -> 4x4 patches -> dense stages of 3 layers, joined by transitions -> mean -> norm -> fc
    layer      -> 7x7 depthwise conv -> norm -> 4x wide MLP -> (gates) -> gamma -> concatenated to its input
    transition -> norm -> conv to half the channels, with 2x2 patches where the grid is halved

Kim et al. 2024, "DenseNets Reloaded: Paradigm Shift Beyond ResNets and ViTs", arXiv:2403.19588.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, Backbone
from zoo.layers.adapt import Layout
from zoo.layers.channel_attention import EffectiveSqueezeExcite
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import NormMlpHead
from zoo.layers.init import init_fan_in
from zoo.layers.norm import LayerNorm2d
from zoo.probe import tap
from zoo.registry import register

DEPTH = 3  # layers of a stage
GATED_FROM = 2  # stages on grids that were halved so often have gates


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one RDNet from another."""

    width: int  # channels of the stem
    growths: tuple[tuple[int, ...], ...]  # on each grid, the channels that a layer adds, stage by stage


class Branch(nn.Module):
    """Mix positions, then channels. (B, dim_in, H, W) -> (B, growth, H, W)."""

    def __init__(self, dim_in: int, growth: int, gated: bool):
        super().__init__()
        hidden = 4 * dim_in // 8 * 8
        self.layers = nn.Sequential(
            conv(dim_in, dim_in, 7, groups=dim_in, bias=True),
            LayerNorm2d(dim_in),
            nn.Conv2d(dim_in, hidden, 1),
            nn.GELU(),
            nn.Conv2d(hidden, growth, 1),
            *([EffectiveSqueezeExcite(growth)] if gated else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DenseLayer(nn.Module):
    """(B, dim_in, H, W) -> (B, dim_in + growth, H, W): its input, then what it adds."""

    def __init__(self, dim_in: int, growth: int, gated: bool, drop_path: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((growth,), 1e-6))
        self.layers = Branch(dim_in, growth, gated)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.drop_path(self.layers(x) * self.gamma[:, None, None])], 1)


def stage(dim: int, growth: int, gated: bool, drop_paths: list[float]) -> nn.Sequential:
    """(B, dim, H, W) -> (B, dim + DEPTH * growth, H, W)."""
    layers = (DenseLayer(dim + j * growth, growth, gated, rate) for j, rate in enumerate(drop_paths))
    return nn.Sequential(OrderedDict((f"dense_block{j}", layer) for j, layer in enumerate(layers)))


class RDNet(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes)."""

    readout = "mean_norm"
    no_attention = CHANNEL_GATES
    layouts = (Layout(renamed=((r"^stem\.stem\.", "stem."),)),)  # the authors' files

    def __init__(self, cfg: Config):
        super().__init__()
        self.smallest = 4 * 2 ** (len(cfg.growths) - 1)
        self.stem, dim = nn.Sequential(nn.Conv2d(3, cfg.width, 4, 4), LayerNorm2d(cfg.width)), cfg.width
        rates = iter(drop_path_rates(cfg.drop_path, (DEPTH,) * sum(map(len, cfg.growths))))
        self.dense_stages = nn.Sequential()
        for halvings, growths in enumerate(cfg.growths):
            for j, growth in enumerate(growths):
                transition: tuple[nn.Module, ...] = ()
                if len(self.dense_stages):
                    side, dim_in, dim = 1 if j else 2, dim, dim // 16 * 8
                    transition = LayerNorm2d(dim_in), nn.Conv2d(dim_in, dim, side, side)
                dense = stage(dim, growth, halvings >= GATED_FROM, next(rates))
                self.dense_stages.append(nn.Sequential(*transition, dense))
                dim += DEPTH * growth
        self.num_features, self.num_classes = dim, cfg.num_classes
        self.head = NormMlpHead(dim, cfg.num_classes, LayerNorm2d, drop=cfg.drop)
        self.apply(init_fan_in)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, dense in enumerate(self.dense_stages, 1):
            x = tap(f"stage{i}", dense(x), "NCHW")
        return tap("cam", x, "NCHW")


VARIANTS = {
    "rdnet_tiny": Config(64, ((64,), (104,), (128,) * 4, (224,))),
    "rdnet_small": Config(72, ((64,), (128,), (128,) * 7, (240, 240))),
    "rdnet_base": Config(120, ((96,), (128,), (168,) * 7, (336, 336))),
    "rdnet_large": Config(144, ((128,), (192,), (256,) * 8, (360, 360))),
}
register(RDNet, VARIANTS)
