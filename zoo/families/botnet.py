"""BoTNet: a ResNet whose last bottlenecks have attention of the whole grid in place of the 3x3 convolution.

    image -> stem (H/4) -> 4 stages of bottlenecks, the grid halved before stages 2 to 4 -> (1x1 conv) -> mean -> fc
    bottleneck -> 1x1 conv -> 3x3 conv, or attention with relative positions -> 1x1 conv -> + shortcut

Srinivas et al. 2021, "Bottleneck Transformers for Visual Recognition", arXiv:2101.11605. The sizes are timm's (Ross
Wightman): t and s stems of three 3x3 convs, se and eca gates in the bottlenecks without attention. The attention learns
a vector for every offset, so a model takes the image size alone that it was built for.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from zoo.families import gernet
from zoo.families.gernet import Staged
from zoo.layers.bottleneck_attention import BottleneckAttention
from zoo.layers.channel_attention import EfficientChannelAttention, SqueezeExcite
from zoo.layers.staged import SILU, Attend, Bottle, Tiered, each
from zoo.layers.table import Row, Stage, Style, Table
from zoo.registry import register

IMAGE = 256  # side of the image that the tables below are for
TABLES = ("stages.3.1.self_attn.pos_embed.height_rel", "stages.3.1.self_attn.pos_emb")  # (2 * H/32 - 1, ...)


@dataclass(frozen=True, kw_only=True)
class Config(gernet.Config):
    """What tells one BoTNet from another."""

    img_size: int = IMAGE  # side of the only image that it takes


def fitted(row: Row, cfg: Config) -> Row:
    """Fit a row of a table, which is for images of the usual size, to the config's."""
    return replace(row, side=row.side * cfg.img_size // IMAGE) if isinstance(row, Attend) else row


class BottleneckTransformer(Staged):
    """Image (B, 3, img_size, img_size) -> features (B, num_features, img_size/32, img_size/32) -> logits."""

    only_size = True

    def __init__(self, cfg: Config):
        super().__init__(replace(cfg, stages=tuple(tuple(fitted(row, cfg) for row in stage) for stage in cfg.stages)))
        self.img_size = cfg.img_size

    @classmethod
    def fit(cls, cfg: Any, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the number of offsets, the image's size."""
        fitted = super().fit(cfg, state_dict)
        table = next((state_dict[key] for key in TABLES if key in state_dict), None)
        return fitted if table is None else fitted | {"img_size": 16 * (len(table) + 1)}


def stages26(attend: partial[Attend], **fields: Any) -> Table:
    """Two bottlenecks in each stage; `fields` are those of every row."""
    stages = (
        (Bottle(256, 2),),
        (Bottle(512, 2, 2),),
        (Bottle(1024, 1, 2), attend(1024, side=16)),
        (attend(2048, 2, 2, side=8),),
    )
    return each(stages, **fields)


def stages33(attend: partial[Attend]) -> Table:
    """Two or three bottlenecks in each stage, with gates in those that have no attention."""
    stages = (
        (Bottle(256, 2),),
        (Bottle(512, 2, 2), attend(512, side=32)),
        (Bottle(1024, 2, 2), attend(1024, side=16)),
        (attend(1536, 2, 2, ratio=0.333, side=8),),
    )
    return each(stages, attention=SqueezeExcite)


def alternating(dim: int, depth: int, side: int, attend: partial[Attend]) -> Stage:
    """A stage in which every second bottleneck attends."""
    return tuple(attend(dim, side=side) if i % 2 else Bottle(dim, stride=1 if i else 2) for i in range(depth))


def stages50(two: Stage, three: partial[Attend], four: partial[Attend]) -> Table:
    """The depths of a ResNet-50; stage 2, and what attends in stages 3 and 4."""
    return (Bottle(256, 3),), two, alternating(1024, 6, 16, three), alternating(2048, 3, 8, four)


def last(attend: partial[Attend]) -> Stage:
    """Stage 2 of a ResNet-50, of which the last bottleneck attends."""
    return Bottle(512, 3, 2), attend(512, side=32)


POOLED, STRIDED = (Tiered(64, before=(24, 32), pool=pool) for pool in (True, False))
SMOOTH = Style(act=SILU)
BOT = partial(Attend, mix=BottleneckAttention)
NARROW = partial(Attend, mix=partial(BottleneckAttention, head_dim=16))
NEXT = partial(stages26, group_width=16, attention=EfficientChannelAttention)

VARIANTS = {
    "botnet26t_256": Config(stages26(BOT), POOLED, no_attention=None),
    "botnet50ts_256": Config(stages50(last(BOT), BOT, BOT), POOLED, style=SMOOTH, no_attention=None),
    "eca_botnext26ts_256": Config(NEXT(NARROW), POOLED, style=SMOOTH, no_attention=None),
    "sebotnet33ts_256": Config(stages33(BOT), STRIDED, 1280, SMOOTH, no_attention=None),
}
register(BottleneckTransformer, VARIANTS)
