"""HardCoRe-NAS: a search by gradients in which every step keeps within the latency that was asked for.

    image -> 3x3 conv of step 2 -> 7 stages of blocks -> 1x1 conv -> mean -> conv of the one cell that is left -> fc
    block -> 1x1 conv -> depthwise conv -> (gates: mean over the grid, two small layers) -> 1x1 conv -> + shortcut

Other searches add latency to the loss and only come near their target; here it is a hard constraint, with a formula
for the latency of a net. Blocks and head are MobileNet-V3's (zoo/families/mobilenet_v3.py); A to F are increasingly
slow and accurate. Nayman et al. 2021, "HardCoRe-NAS: Hard Constrained diffeRentiable Neural Architecture Search",
arXiv:2102.11646.
"""

from dataclasses import replace
from functools import partial

from zoo.families.mobilenet_v1 import Config
from zoo.families.mobilenet_v3 import STYLE, MobileNetV3
from zoo.layers.mbconv import Conv, Inverted, Separable
from zoo.layers.table import RELU
from zoo.registry import register

gated = partial(Inverted, gates=0.25)
A = (
    (Inverted(24, stride=2, kernel=5, expand=3), gated(24, kernel=5, expand=3)),
    (Inverted(40, stride=2, kernel=5, expand=3), gated(40, kernel=5)),
    (gated(80, depth=2, stride=2, kernel=5),),
    (gated(112, depth=2, kernel=5),),
    (gated(192, depth=2, stride=2, kernel=5),),
)
B = (
    (Inverted(24, stride=2, kernel=5, expand=3), gated(24, kernel=5, expand=3), Inverted(24, expand=3)),
    (Inverted(40, depth=3, stride=2, kernel=5, expand=3),),
    (Inverted(80, depth=2, stride=2, kernel=5, expand=3), Inverted(80, depth=2, expand=3)),
    (Inverted(112, kernel=5, expand=3), Inverted(112, depth=3, expand=3)),
    (gated(192, depth=2, stride=2, kernel=5), gated(192, expand=3)),
)
C = (
    (Inverted(24, stride=2, kernel=5, expand=3), gated(24, kernel=5, expand=3)),
    (Inverted(40, depth=4, stride=2, kernel=5, expand=3),),
    (Inverted(80, stride=2, kernel=5, expand=4), gated(80, kernel=5), Inverted(80, depth=2, expand=3)),
    (gated(112, kernel=5), Inverted(112, depth=3, expand=3)),
    (gated(192, depth=2, stride=2, kernel=5), gated(192, expand=3)),
)
D = (
    (gated(24, depth=2, stride=2, kernel=5, expand=3),),
    (gated(40, stride=2, kernel=5, expand=3), gated(40, kernel=5, expand=4), gated(40, expand=3)),
    (gated(80, stride=2, kernel=5, expand=4), gated(80, depth=3, expand=3)),
    (gated(112, expand=4), gated(112, kernel=5, expand=4), gated(112, expand=3), gated(112, kernel=5, expand=3)),
    (gated(192, depth=3, stride=2, kernel=5), gated(192)),
)
E = (
    (gated(24, depth=2, stride=2, kernel=5, expand=3),),
    (gated(40, stride=2, kernel=5), gated(40, depth=2, kernel=5, expand=4), gated(40, expand=3)),
    (gated(80, stride=2, kernel=5, expand=4), gated(80)),
    (gated(112, depth=3, kernel=5), gated(112, kernel=5, expand=3)),
    (gated(192, depth=3, stride=2, kernel=5), gated(192)),
)
F = (
    (gated(24, depth=2, stride=2, kernel=5, expand=3),),
    (gated(40, depth=2, stride=2, kernel=5),),
    (gated(80, depth=2, stride=2, kernel=5), gated(80, depth=2, expand=3)),
    (gated(112), gated(112, depth=2, kernel=5), gated(112, expand=3)),
    (gated(192, depth=2, stride=2, kernel=5), gated(192, depth=2)),
)


def net(searched: tuple[tuple[Inverted, ...], ...]) -> Config:
    """Add the first and last stages, which all nets share; blocks of up to 40 channels have ReLU for activation."""
    stages = (tuple(replace(row, act=RELU) if row.dim <= 40 else row for row in stage) for stage in searched)
    return Config(((Separable(16, act=RELU),), *stages, (Conv(960, kernel=1),)), style=STYLE)


VARIANTS = {
    "hardcorenas_a": net(A),
    "hardcorenas_b": net(B),
    "hardcorenas_c": net(C),
    "hardcorenas_d": net(D),
    "hardcorenas_e": net(E),
    "hardcorenas_f": net(F),
}
register(MobileNetV3, VARIANTS)
