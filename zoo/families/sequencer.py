"""Sequencer: LSTMs read each column and each row, in both directions, in place of attention.

    image -> 7x7 patches -> 4 stages of blocks, 2x2 cells merged before the second -> norm -> mean -> fc
    block -> norm -> LSTMs along columns and along rows, concatenated -> linear -> + shortcut
          -> norm -> MLP along the channels -> + shortcut

Tatsunami and Taki 2022, "Sequencer: Deep LSTM for Image Classification", arXiv:2205.01972. An LSTM reads a line of any
length, so any image of two patches or more works; pixels and cells at its right and bottom that fill none are dropped.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.drop import DropPath
from zoo.layers.embed import PatchEmbed
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_glorot
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.probe import tap
from zoo.registry import register

PATCHES = (7, 2, 1, 1)  # side of a patch before each stage, in pixels, then in cells
DIMS = (192, 384, 384, 384)  # channels in each stage
MLP_RATIO = 3  # hidden width of the MLP over dim


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one Sequencer from another."""

    depths: tuple[int, ...]  # blocks in each stage


class Lstm2d(nn.Module):
    """Each cell learns of its column and of its row. (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.rnn_v, self.rnn_h = (nn.LSTM(dim, dim // 4, batch_first=True, bidirectional=True) for _ in range(2))
        self.fc = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.cat([read(self.rnn_v, x.transpose(1, 2)).transpose(1, 2), read(self.rnn_h, x)], 3))


def read(lstm: nn.LSTM, x: Tensor) -> Tensor:
    """Read lines of cells in both directions. (B, lines, cells, C) -> (B, lines, cells, C/2)."""
    lines = x.flatten(0, 1)
    start = lines.new_zeros(2, len(lines), lstm.hidden_size)
    return lstm(lines, (start, start))[0].unflatten(0, x.shape[:2])


class Block(nn.Module):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, drop_path: float):
        super().__init__()
        self.norm1, self.rnn_tokens = LayerNorm(dim), Lstm2d(dim)
        self.norm2, self.mlp_channels = LayerNorm(dim), Mlp(dim, MLP_RATIO * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.rnn_tokens(self.norm1(x)))
        return x + self.drop_path(self.mlp_channels(self.norm2(x)))


class Merge(nn.Module):
    """Project each patch of cells. (B, H, W, dim_in) -> (B, H/patch, W/patch, dim)."""

    def __init__(self, dim_in: int, dim: int, patch: int):
        super().__init__()
        self.down = nn.Conv2d(dim_in, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Stage(nn.Module):
    """Merge cells (not before the first stage), then blocks. (B, H, W, C) -> (B, H/patch, W/patch, DIMS[i])."""

    def __init__(self, i: int, cfg: Config):
        super().__init__()
        self.downsample = Merge(DIMS[i - 1], DIMS[i], PATCHES[i]) if i else nn.Identity()
        # The rate is the same in all blocks, as in the published models.
        self.blocks = nn.Sequential(*(Block(DIMS[i], cfg.drop_path) for _ in range(cfg.depths[i])))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class Sequencer2d(Backbone):
    """Image (B, 3, H, W) -> features (B, H/14, W/14, num_features) -> logits (B, num_classes)."""

    readout = "norm_mean"
    smallest = PATCHES[0] * PATCHES[1]
    no_attention = "LSTMs carry what they read along rows and columns, and weigh no position against another"

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = DIMS[-1], cfg.num_classes
        self.stem = PatchEmbed(PATCHES[0], DIMS[0], ragged=True)
        self.stages = nn.Sequential(*(Stage(i, cfg) for i in range(len(cfg.depths))))
        self.norm = LayerNorm(DIMS[-1])
        self.head = ClassifierHead(DIMS[-1], cfg.num_classes, cfg.drop)
        self.apply(init_glorot)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NHWC")
        return tap("cam", self.norm(x), "NHWC")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x.permute(0, 3, 1, 2), pre_logits)


VARIANTS = {
    "sequencer2d_s": Config((4, 3, 8, 3)),
    "sequencer2d_m": Config((4, 3, 14, 3)),
    "sequencer2d_l": Config((8, 8, 16, 4)),
}
register(Sequencer2d, VARIANTS)
