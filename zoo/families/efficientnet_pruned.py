"""Pruned EfficientNet: the channels that matter least are removed until the net meets a budget of operations.

    EfficientNet B1, B2 or B3 -> fewer channels between and inside the blocks of every stage after the first

What to keep is solved as a knapsack problem: the value of a channel is the estimated change of the loss without it, its
cost the operations. Aflalo et al. 2020, "Knapsack Pruning with Inner Distillation", arXiv:2002.08258. The gates kept
their hidden channels, except for one in B1 and one in B3. Padding and batch norm are TensorFlow's.
"""

from dataclasses import dataclass, field, replace

from zoo.families.efficientnet import B1, B2, B3
from zoo.families.mobilenet_v1 import Config, MobileNet, tensorflow
from zoo.layers.mbconv import Inverted
from zoo.registry import register


@dataclass(frozen=True)
class Left:
    """What is left of the stages after the first."""

    dims: tuple[int, ...]  # output channels of each stage's blocks
    inside: tuple[tuple[int, ...], ...]  # channels inside each block of each stage
    gates: dict[tuple[int, int], int] = field(default_factory=dict)  # hidden channels by (stage, block), if changed


def pruned(whole: Config, left: Left) -> Config:
    """Replace each row of the table by one row for each block."""
    stages, dim_in, before = list(whole.stages[:1]), whole.stages[0][-1].dim, whole.stages[0][-1].dim
    for i, ((row,), dim, inside) in enumerate(zip(whole.stages[1:], left.dims, left.inside, strict=True), 1):
        assert isinstance(row, Inverted)
        rows = []
        for j, hidden in enumerate(inside):
            gates = left.gates.get((i, j), round(row.gates * before)) / dim_in
            stride = 1 if j else row.stride
            rows.append(replace(row, dim=dim, depth=1, stride=stride, hidden=hidden, gates=gates))
            dim_in, before = dim, row.dim
        stages.append(tuple(rows))
    return tensorflow(replace(whole, stages=tuple(stages)))


B1_LEFT = Left(
    (12, 35, 74, 67, 192, 320),
    (
        (48, 62, 48),
        (70, 61, 51),
        (175, 188, 137, 164),
        (399, 201, 160, 213),
        (637, 806, 798, 891, 990),
        (1152, 1912),
    ),
    {(5, 0): 27},
)
B2_LEFT = Left(
    (17, 42, 85, 116, 208, 352),
    (
        (54, 69, 61),
        (86, 72, 98),
        (245, 274, 254, 292),
        (502, 315, 354, 443),
        (719, 1148, 1160, 1182, 1228),
        (1248, 2112),
    ),
)
B3_LEFT = Left(
    (12, 40, 93, 120, 232, 384),
    (
        (27, 49, 48),
        (83, 90, 85),
        (215, 261, 219, 254, 236),
        (480, 235, 217, 226, 340),
        (802, 1030, 924, 1016, 1130, 1266),
        (1392, 2301),
    ),
    {(4, 3): 33},
)

VARIANTS = {
    "efficientnet_b1_pruned": pruned(B1, B1_LEFT),
    "efficientnet_b2_pruned": pruned(B2, B2_LEFT),
    "efficientnet_b3_pruned": pruned(B3, B3_LEFT),
}
register(MobileNet, VARIANTS)
