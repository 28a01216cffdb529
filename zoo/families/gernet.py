"""GENet: a search for accuracy at a given latency on GPUs, which likes full convolutions early and cheap ones late.

    image -> 3x3 conv (H/2) -> 5 stages of blocks, four of which halve the grid -> 1x1 conv -> mean -> fc
    stages 1, 2 -> 3x3 conv -> 3x3 conv -> + shortcut
    stage 3     -> 1x1 conv to a quarter of the channels -> 3x3 conv -> 1x1 conv -> + shortcut
    stages 4, 5 -> 1x1 conv to 3 times the channels -> 3x3 depthwise conv -> 1x1 conv -> + shortcut

Lin et al. 2020, "Neural Architecture Design for GPU-Efficient Networks", arXiv:2006.14090. Other families share this
model, `Staged`: they differ in the table of blocks (zoo/layers/staged.py) and in the stem.
"""

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_regnet
from zoo.layers.staged import Basic, Bottle, Conv3x3, conv_act
from zoo.layers.table import PLAIN, Row, Style, Table, trunk
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one staged net from another."""

    stages: Table  # of the blocks
    stem: Row  # makes the first layers, with stride 2
    last_dim: int = 0  # channels of the last 1x1 conv; 0: no such conv
    style: Style = PLAIN  # of all layers
    no_attention: str | None = CONVOLUTIONS  # as in zoo/base.py


class Staged(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean"

    def __init__(self, cfg: Config):
        super().__init__()
        self.no_attention = cfg.no_attention
        dim = cfg.stages[-1][-1].dim
        self.stem = cfg.stem.block(3, 2, 0.0, cfg.style)
        self.stages = trunk(cfg.stem.dim, cfg.stages, cfg.drop_path, cfg.style)
        self.final_conv = conv_act(dim, cfg.last_dim, 1, cfg.style) if cfg.last_dim else nn.Identity()
        self.num_features, self.num_classes = cfg.last_dim or dim, cfg.num_classes
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)
        self.apply(init_regnet)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", self.final_conv(x), "NCHW")


def net(dims: tuple[int, ...], depths: tuple[int, ...], stem_dim: int, last_dim: int) -> Config:
    """Take the channels and the number of blocks of each stage, as the paper lists them."""
    (a, b, c, d, e), (i, j, k, m, n) = dims, depths
    wide = partial(Bottle, ratio=3, group_width=1)
    stages = (Basic(a, i, 2),), (Basic(b, j, 2),), (Bottle(c, k, 2),), (wide(d, m, 2),), (wide(e, n),)
    return Config(stages, Conv3x3(stem_dim), last_dim)


VARIANTS = {
    "gernet_s": net((48, 48, 384, 560, 256), (1, 3, 7, 2, 1), 13, 1920),
    "gernet_m": net((128, 192, 640, 640, 640), (1, 2, 6, 4, 1), 32, 2560),
    "gernet_l": net((128, 192, 640, 640, 640), (1, 2, 6, 5, 4), 32, 2560),
}
register(Staged, VARIANTS)
