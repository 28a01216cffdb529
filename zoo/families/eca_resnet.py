"""ECA-ResNet: a ResNet with very cheap gates at the end of every branch, one short 1d conv over the channels.

    branch -> convs -> gates: mean over the grid, 1d conv along the channels, sigmoid -> each channel times its gate

Wang et al. 2019, "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", arXiv:1910.03151. The
pruned rows lost the channels that mattered least: Aflalo et al. 2020, "Knapsack Pruning with Inner Distillation",
arXiv:2002.08258. The d and t rows are ResNet-D's, the x rows ResNeXt's; light is timm's own.
"""

from dataclasses import replace
from functools import partial

from zoo.families.resnet import RESNET26, RESNET50, RESNET101, RESNET200, RESNET269, Pruned, ResNet, resnet_d, resnet_t
from zoo.layers.channel_attention import EfficientChannelAttention
from zoo.registry import register

eca = partial(replace, attention=EfficientChannelAttention)

PRUNED50 = (
    Pruned(19, ((47, 18), (52, 22), (64, 35))),
    Pruned(171, ((85, 37), (107, 80), (120, 85), (125, 87))),
    Pruned(818, ((198, 126), (255, 232), (256, 233), (253, 235), (256, 225), (256, 239))),
    Pruned(2022, ((492, 237), (512, 500), (512, 490))),
)
# fmt: off
PRUNED101 = (
    Pruned(26, ((45, 25), (53, 20), (60, 27))),
    Pruned(142, ((81, 24), (93, 49), (102, 54), (122, 78))),
    Pruned(278, (
        (101, 25), (239, 160), (234, 156), (250, 176), (253, 191), (251, 175), (230, 128), (244, 154),
        (244, 159), (238, 97), (244, 149), (253, 181), (245, 119), (255, 216), (256, 201), (253, 149),
        (254, 141), (256, 190), (256, 217), (255, 156), (256, 155), (256, 232), (256, 214),
    )),
    Pruned(2042, ((499, 289), (512, 512), (512, 502))),
)
# fmt: on

VARIANTS = {
    "ecaresnet26t": eca(resnet_t(RESNET26)),
    "ecaresnet50d": eca(resnet_d(RESNET50)),
    "ecaresnet50d_pruned": eca(resnet_d(RESNET50), pruned=PRUNED50),
    "ecaresnet50t": eca(resnet_t(RESNET50)),
    "ecaresnet101d": eca(resnet_d(RESNET101)),
    "ecaresnet101d_pruned": eca(resnet_d(RESNET101), pruned=PRUNED101),
    "ecaresnet200d": eca(resnet_d(RESNET200)),
    "ecaresnet269d": eca(resnet_d(RESNET269)),
    "ecaresnetlight": eca(RESNET50, depths=(1, 1, 11, 3), down_kernel=0),
    "ecaresnext26t_32x4d": eca(resnet_t(RESNET26), groups=32, group_width=4),
    "ecaresnext50t_32x4d": eca(resnet_t(RESNET50), groups=32, group_width=4),
}
register(ResNet, VARIANTS)
