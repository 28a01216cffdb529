"""LambdaNet: bottlenecks in which a linear map, made of the whole image, is applied to each cell.

    image -> stem (H/4) -> 4 stages of bottlenecks, the grid halved before stages 2 to 4 -> mean -> fc
    bottleneck -> 1x1 conv -> 3x3 conv, or lambda layer -> 1x1 conv -> + shortcut

Bello 2021, "LambdaNetworks: Modeling Long-Range Interactions Without Attention", arXiv:2102.08602. The sizes are timm's
(Ross Wightman). rpt learns a vector for every offset in the grid, the others only for those up to four cells.
lamhalobotnet has lambda layers in stage 2, HaloNet's attention in stage 3 and BoTNet's in stage 4.
"""

from functools import partial

from zoo.families import botnet, gernet
from zoo.families.botnet import (
    BOT,
    POOLED,
    SMOOTH,
    STRIDED,
    BottleneckTransformer,
    alternating,
    last,
    stages26,
    stages50,
)
from zoo.families.gernet import Staged
from zoo.families.halonet import RIM3
from zoo.layers.lambda_layer import NO_PAIRS, LambdaLayer
from zoo.layers.staged import Attend
from zoo.registry import register


class LambdaHaloBoTNet(BottleneckTransformer):
    """As BottleneckTransformer."""

    no_rollout = NO_PAIRS


def lambdas(reach: int | None) -> partial[Attend]:
    """Make rows of lambda layers."""
    return partial(Attend, mix=partial(LambdaLayer, reach=reach))


NEAR = lambdas(9)

ANY_SIZE = {
    "lambda_resnet26t": gernet.Config(stages26(NEAR), POOLED, no_attention=NO_PAIRS),
    "lambda_resnet50ts": gernet.Config(stages50(last(NEAR), NEAR, NEAR), POOLED, style=SMOOTH, no_attention=NO_PAIRS),
}
ONE_SIZE = {"lambda_resnet26rpt_256": botnet.Config(stages26(lambdas(None)), POOLED, no_attention=NO_PAIRS)}
STAGES = stages50(alternating(512, 4, 32, lambdas(13)), RIM3, BOT)
MIXED = {"lamhalobotnet50ts_256": botnet.Config(STAGES, STRIDED, style=SMOOTH, no_attention=None)}
VARIANTS = ANY_SIZE | ONE_SIZE | MIXED
register(Staged, ANY_SIZE)
register(BottleneckTransformer, ONE_SIZE)
register(LambdaHaloBoTNet, MIXED)
