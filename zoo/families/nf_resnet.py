"""NF-ResNet and NF-RegNet: ResNet-V2 and RegNet without normalisation, the nets that NFNet grew from.

    image -> 7x7 conv and max pool, or 3x3 conv -> 4 stages of blocks -> (1x1 conv) -> act -> mean -> fc
    block -> NFNet's, with one 3x3 conv (zoo/families/nfnet.py)

Brock et al. 2021, "Characterizing Signal Propagation to Close the Performance Gap in Unnormalized ResNets",
arXiv:2101.08692. The RegNets have EfficientNet's scaling and gates in every block; their channels are timm's, rounded
to multiples of 8, as are the se and eca rows.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from zoo.families.nfnet import Config, NormFreeNet
from zoo.layers.channel_attention import EfficientChannelAttention, gates_of
from zoo.layers.width import make_divisible
from zoo.registry import register


def resnet(*depths: int) -> Config:
    """ResNet's depths and channels."""
    stem = dict(stem=(64,), stem_kernel=7, pool=True)
    inside = dict(ratio=0.25, group_width=0, extra=False, last_dim=0, gates=None, act=nn.ReLU)
    return Config(depths, (256, 512, 1024, 2048), **stem, **inside)  # pyright: ignore[reportArgumentType]


def regnet(depths: tuple[int, ...], dims: tuple[int, ...] = (48, 104, 208, 440)) -> Config:
    """Three quarters of these channels, and of 1280 for 440 at the end."""
    narrow = tuple(make_divisible(0.75 * dim) for dim in dims)
    last = make_divisible(0.75 * (1280 * dims[-1] // 440))
    inside = dict(ratio=2.25, regnet=True, group_width=8, extra=False, last_dim=last, act=nn.SiLU)
    return Config(depths, narrow, narrow[:1], **inside)  # pyright: ignore[reportArgumentType]


se = partial(replace, gates=gates_of(1 / 16))
eca = partial(replace, gates=EfficientChannelAttention)
RESNET26, RESNET50, RESNET101 = resnet(2, 2, 2, 2), resnet(3, 4, 6, 3), resnet(3, 4, 23, 3)

VARIANTS = {
    "nf_regnet_b0": regnet((1, 3, 6, 6)),
    "nf_regnet_b1": regnet((2, 4, 7, 7)),
    "nf_regnet_b2": regnet((2, 4, 8, 8), (56, 112, 232, 488)),
    "nf_regnet_b3": regnet((2, 5, 9, 9), (56, 128, 248, 528)),
    "nf_regnet_b4": regnet((2, 6, 11, 11), (64, 144, 288, 616)),
    "nf_regnet_b5": regnet((3, 7, 14, 14), (80, 168, 336, 704)),
    "nf_resnet26": RESNET26,
    "nf_resnet50": RESNET50,
    "nf_resnet101": RESNET101,
    "nf_seresnet26": se(RESNET26),
    "nf_seresnet50": se(RESNET50),
    "nf_seresnet101": se(RESNET101),
    "nf_ecaresnet26": eca(RESNET26),
    "nf_ecaresnet50": eca(RESNET50),
    "nf_ecaresnet101": eca(RESNET101),
}
register(NormFreeNet, VARIANTS)
