"""NASNet-A: two kinds of cells that reinforcement learning found on small images, stacked many times for large ones.

    image -> 3x3 conv (H/2) -> 4 stages of cells, the first of each halves the grid (H/32) -> relu -> mean -> fc
    cell  -> a 1x1 conv of each of its two inputs -> sums of two operations on them or on earlier sums -> concatenated

A cell reads the outputs of the two before it, but one after a reduction cell skips that cell's input and reads what was
before it. Zoph et al. 2017, "Learning Transferable Architectures for Scalable Image Recognition", arXiv:1707.07012;
its figure 4 has the cells. Other searched nets share this model (zoo/layers/search_cell.py).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, MeanReadout
from zoo.layers.drop import drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.search_cell import NEW, OLD, Cell, Fit, Plan, max3, mean3, norm, same, sep3, sep5, sep7
from zoo.probe import tap
from zoo.registry import register

STEM = 96  # channels of the first conv


class Place(NamedTuple):
    """A cell in the net."""

    name: str  # in the keys
    inner: int  # channels of each sum
    old: int = -2  # which of the outputs so far is its older input; the newer one is always the last


Stages = tuple[tuple[Place, ...], ...]


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one searched net from another."""

    stages: Stages  # cells of each; the first halves the grid
    normal: Plan  # of the other cells
    halving: Plan  # of the first cells
    first: str  # the first conv's name in the keys
    halve: Fit  # how a cell's older input is fitted if its grid is finer


class SearchedNet(MeanReadout):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes).

    The first conv is not padded: the grid's outer cells leave a margin of the image.
    """

    classifier_key = "last_linear"
    no_attention = CONVOLUTIONS
    smallest = 3

    def __init__(self, cfg: Config):
        super().__init__()
        self.first = cfg.first
        layers = OrderedDict[str, nn.Module](conv=nn.Conv2d(3, STEM, 3, 2, bias=False), bn=norm(STEM))
        self.add_module(cfg.first, nn.Sequential(layers))
        self.stages = [[Place(*place) for place in stage] for stage in cfg.stages]
        made = [(STEM, 0), (STEM, 0)]  # channels of each output, and how often its grid was halved
        rates = drop_path_rates(cfg.drop_path, tuple(map(len, self.stages)))
        for halved, (stage, stage_rates) in enumerate(zip(self.stages, rates, strict=True)):
            for place, rate in zip(stage, stage_rates, strict=True):
                plan, stride = (cfg.halving, 2) if place is stage[0] else (cfg.normal, 1)
                (old, old_halved), (new, new_halved) = made[place.old], made[-1]
                fit = "keep" if len(made) == 2 else cfg.halve if old_halved < new_halved else "conv"
                cell = Cell((old, new), place.inner, plan, stride, fit, rate)
                self.add_module(place.name, cell)
                made.append((cell.dim, halved + 1))
        self.num_features, self.num_classes = made[-1][0], cfg.num_classes
        self.drop = nn.Dropout(cfg.drop)
        self.last_linear = classifier(self.num_features, cfg.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.get_submodule(self.first)(x)
        made = [x, x]
        for i, stage in enumerate(self.stages, 1):
            for place in stage:
                made = [*made[-2:], self.get_submodule(place.name)(made[place.old], made[-1])]
            made[-1] = tap(f"stage{i}", made[-1], "NCHW")
        return tap("cam", made[-1].relu(), "NCHW")


def cells(inner: int, first: int, end: int, old: int = -2) -> tuple[Place, ...]:
    """Number cells from `first` to before `end`; `old` is the first one's older input."""
    return Place(f"cell_{first}", inner, old), *(Place(f"cell_{i}", inner) for i in range(first + 1, end))


NORMAL = Plan(
    (
        (sep5, NEW, sep3, OLD),
        (sep5, OLD, sep3, OLD),
        (mean3, NEW, same, OLD),
        (mean3, OLD, mean3, OLD),
        (sep3, NEW, same, NEW),
    ),
    (OLD, 0, 1, 2, 3, 4),
)
HALVING = Plan(
    (
        (sep5, NEW, sep7, OLD),
        (max3, NEW, sep7, OLD),
        (mean3, NEW, sep5, OLD),
        (mean3, 0, same, 1),
        (sep3, 0, max3, NEW),
    ),
    (1, 2, 3, 4),
)
STAGES = (
    (Place("cell_stem_0", 42),),
    (Place("cell_stem_1", 84), *cells(168, 0, 6)),
    (Place("reduction_cell_0", 336), *cells(336, 6, 12, old=-3)),
    (Place("reduction_cell_1", 672), *cells(672, 12, 18, old=-3)),
)

VARIANTS = {"nasnetalarge": Config(STAGES, NORMAL, HALVING, "conv0", "halve_here")}
register(SearchedNet, VARIANTS)
