"""Inception-V3: cells of parallel branches, in which large kernels are made of small ones, or of rows and columns.

    image -> stem: 5 convs, 2 max pools (H/8) -> 3 cells -> reduction (H/16) -> 4 cells -> reduction (H/32) -> 2 cells
    -> mean -> fc
    cell      -> 1x1 conv beside longer branches beside mean, 1x1 conv -> concatenated
    reduction -> branches that end in a conv with stride 2, beside a max pool -> concatenated

Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567. The auxiliary
classifier, which only helps in training, is left out.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from zoo.base import CONVOLUTIONS, Config, MeanReadout
from zoo.layers.adapt import Layout
from zoo.layers.branches import MAX, MEAN, Branches, Row, add_rows
from zoo.layers.drop import refuse_drop_path
from zoo.layers.head import classifier
from zoo.probe import tap
from zoo.registry import register


class Inception(MeanReadout):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes).

    What has a stride is not padded, nor is the stem: a grid has fewer cells than that, and its outer ones leave a
    margin of the image. `stages` are tables, each of a net's layers on one grid, `first` as in `Cell`.
    """

    no_attention = CONVOLUTIONS
    smallest = 75

    def __init__(self, cfg: Config, stages: tuple[Mapping[str, Row], ...], first: int = 0):
        super().__init__()
        self.stages, dim = [list(rows) for rows in stages], 3
        for rows in stages:
            dim = add_rows(self, dim, rows, first)
        self.drop = nn.Dropout(cfg.drop)
        self.add_module(self.classifier_key, classifier(dim, cfg.num_classes))
        self.num_features, self.num_classes = dim, cfg.num_classes

    def forward_features(self, x: Tensor) -> Tensor:
        for i, names in enumerate(self.stages, 1):
            for name in names:
                x = self.get_submodule(name)(x)
            x = tap(f"stage{i}", x, "NCHW")
        return tap("cam", x, "NCHW")


def max_pool(dim: int) -> nn.Module:
    """(B, dim, H, W) -> (B, dim, H/2 - 1, W/2 - 1), rounded up."""
    return nn.MaxPool2d(3, 2)


def figure_5(pooled: int) -> Branches:
    return {
        "branch1x1": [(64, 1)],
        "branch5x5_{}": [(48, 1), (64, 5)],
        "branch3x3dbl_{}": [(64, 1), (96, 3), (96, 3)],
        "branch_pool": [MEAN, (pooled, 1)],
    }


def figure_6(dim: int) -> Branches:
    row, column = (dim, (1, 7)), (dim, (7, 1))
    return {
        "branch1x1": [(192, 1)],
        "branch7x7_{}": [(dim, 1), row, (192, (7, 1))],
        "branch7x7dbl_{}": [(dim, 1), column, row, column, (192, (1, 7))],
        "branch_pool": [MEAN, (192, 1)],
    }


FIGURE_7: Branches = {
    "branch1x1": [(320, 1)],
    "branch3x3_{}": [(384, 1), [(384, (1, 3)), (384, (3, 1))]],
    "branch3x3dbl_{}": [(448, 1), (384, 3), [(384, (1, 3)), (384, (3, 1))]],
    "branch_pool": [MEAN, (192, 1)],
}
STAGES: tuple[Mapping[str, Row], ...] = (
    {"Conv2d_1a_3x3": (32, 3, 2), "Conv2d_2a_3x3": (32, 3, 1, 0), "Conv2d_2b_3x3": (64, 3)},
    {"Pool1": max_pool, "Conv2d_3b_1x1": (80, 1), "Conv2d_4a_3x3": (192, 3, 1, 0)},
    {"Pool2": max_pool, "Mixed_5b": figure_5(32), "Mixed_5c": figure_5(64), "Mixed_5d": figure_5(64)},
    {
        "Mixed_6a": {
            "branch3x3": [(384, 3, 2)],
            "branch3x3dbl_{}": [(64, 1), (96, 3), (96, 3, 2)],
            "pool": [MAX],
        },
        "Mixed_6b": figure_6(128),
        "Mixed_6c": figure_6(160),
        "Mixed_6d": figure_6(160),
        "Mixed_6e": figure_6(192),
    },
    {
        "Mixed_7a": {
            "branch3x3_{}": [(192, 1), (320, 3, 2)],
            "branch7x7x3_{}": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)],
            "pool": [MAX],
        },
        "Mixed_7b": FIGURE_7,
        "Mixed_7c": FIGURE_7,
    },
)


class InceptionV3(Inception):
    """Image (B, 3, H, W) -> features (B, 2048, H/32, W/32) -> logits (B, num_classes)."""

    classifier_key = "fc"
    layouts = (Layout(unused=r"^AuxLogits\."),)

    def __init__(self, cfg: Config):
        refuse_drop_path(cfg.drop_path)
        super().__init__(cfg, STAGES, first=1)
        self.apply(_init)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.1)


VARIANTS = {"inception_v3": Config()}
register(InceptionV3, VARIANTS)
