"""Inception-V4: the cells of Inception-V3 made uniform, and more and wider ones of them.

    image -> stem: convs, and three pairs of branches (H/8) -> 4 A cells -> reduction (H/16) -> 7 B cells
    -> reduction (H/32) -> 3 C cells -> mean -> fc

Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
arXiv:1602.07261.
"""

from zoo.base import Config
from zoo.families.inception_v3 import Inception
from zoo.layers.branches import MAX, MEAN_INSIDE, Branches, Row
from zoo.layers.drop import refuse_drop_path
from zoo.registry import register

MIXED_3A: Branches = {"maxpool": [MAX], "conv": [(96, 3, 2)]}
MIXED_4A: Branches = {
    "branch0.{}": [(64, 1), (96, 3, 1, 0)],
    "branch1.{}": [(64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1, 0)],
}
MIXED_5A: Branches = {"conv": [(192, 3, 2)], "maxpool": [MAX]}
A: Branches = {
    "branch0": [(96, 1)],
    "branch1.{}": [(64, 1), (96, 3)],
    "branch2.{}": [(64, 1), (96, 3), (96, 3)],
    "branch3.{}": [MEAN_INSIDE, (96, 1)],
}
REDUCTION_A: Branches = {
    "branch0": [(384, 3, 2)],
    "branch1.{}": [(192, 1), (224, 3), (256, 3, 2)],
    "branch2": [MAX],
}
B: Branches = {
    "branch0": [(384, 1)],
    "branch1.{}": [(192, 1), (224, (1, 7)), (256, (7, 1))],
    "branch2.{}": [(192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))],
    "branch3.{}": [MEAN_INSIDE, (128, 1)],
}
REDUCTION_B: Branches = {
    "branch0.{}": [(192, 1), (192, 3, 2)],
    "branch1.{}": [(256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2)],
    "branch2": [MAX],
}
C: Branches = {
    "branch0": [(256, 1)],
    "branch1_{}": [(384, 1), [(256, (1, 3)), (256, (3, 1))]],
    "branch2_{}": [(384, 1), (448, (3, 1)), (512, (1, 3)), [(256, (1, 3)), (256, (3, 1))]],
    "branch3.{}": [MEAN_INSIDE, (256, 1)],
}


def numbered(start: int, *rows: Row) -> dict[str, Row]:
    return {f"features.{i}": row for i, row in enumerate(rows, start)}


STAGES = (
    numbered(0, (32, 3, 2), (32, 3, 1, 0), (64, 3)),
    numbered(3, MIXED_3A, MIXED_4A),
    numbered(5, MIXED_5A, A, A, A, A),
    numbered(10, REDUCTION_A, B, B, B, B, B, B, B),
    numbered(18, REDUCTION_B, C, C, C),
)


class InceptionV4(Inception):
    """Image (B, 3, H, W) -> features (B, 1536, H/32, W/32) -> logits (B, num_classes)."""

    classifier_key = "last_linear"

    def __init__(self, cfg: Config):
        refuse_drop_path(cfg.drop_path)
        super().__init__(cfg, STAGES)


VARIANTS = {"inception_v4": Config()}
register(InceptionV4, VARIANTS)
