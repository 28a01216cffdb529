"""VGG: nothing but 3x3 convolutions, more and more of them, between max pools that halve the grid.

    image -> 5 stages: 3x3 convs, relu after each, max pool -> 7x7 conv, 1x1 conv -> mean over what is left -> fc

Simonyan and Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556. The
number counts the layers with weights; its first two fully connected layers are convolutions here, so that images may
have any size. In the bn rows a batch norm follows each 3x3 conv.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.adapt import Layout
from zoo.layers.drop import refuse_drop_path
from zoo.layers.head import ClassifierHead
from zoo.probe import tap
from zoo.registry import register

TORCHVISION = Layout(
    marker=r"^classifier\.6\.",
    renamed=(
        (r"^classifier\.0", "pre_logits.fc1"),
        (r"^classifier\.3", "pre_logits.fc2"),
        (r"^classifier\.6", "head.fc"),
    ),
    reshaped={
        "pre_logits.fc1.weight": lambda weight: weight.unflatten(1, (-1, 7, 7)),
        "pre_logits.fc2.weight": lambda weight: weight[:, :, None, None],
    },
)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one VGG from another."""

    dims: tuple[tuple[int, ...], ...]  # channels of each conv, stage by stage; last, of the two in the head
    norm: bool = False  # a batch norm after each conv of the stages


class ConvMlp(nn.Module):
    """7x7 conv -> 1x1 conv, relu after each; a grid of fewer cells is first averaged to 7x7.

    (B, dim_in, H, W) -> (B, dims[1], H - 6, W - 6), or 1 in place of H - 6 or W - 6 where that is less.
    """

    def __init__(self, dim_in: int, dims: tuple[int, ...]):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(dim_in, dims[0], 7), nn.Conv2d(dims[0], dims[1], 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = (max(side, 7) for side in x.shape[2:])
        if x.shape[2:] != (height, width):
            x = F.adaptive_avg_pool2d(x, (height, width))
        return self.fc2(self.fc1(x).relu_()).relu_()


class VGG(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-2][-1], H/32, W/32) -> logits (B, num_classes)."""

    readout = "flatten"
    no_attention = CONVOLUTIONS
    layouts = (TORCHVISION,)
    smallest = 32

    def __init__(self, cfg: Config):
        super().__init__()
        refuse_drop_path(cfg.drop_path)
        *stages, head = cfg.dims
        self.num_features, self.num_classes = head[-1], cfg.num_classes
        self.features, dim_in = nn.Sequential(), 3
        for dims in stages:
            for dim in dims:
                norm = (nn.BatchNorm2d(dim),) if cfg.norm else ()
                self.features.extend((nn.Conv2d(dim_in, dim, 3, padding=1), *norm, nn.ReLU(inplace=True)))
                dim_in = dim
            self.features.append(nn.MaxPool2d(2))
        self.pre_logits = ConvMlp(dim_in, head)
        self.head = ClassifierHead(head[-1], cfg.num_classes, cfg.drop)
        self.apply(_init)

    def forward_features(self, x: Tensor) -> Tensor:
        stage = 0
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                stage += 1
                x = tap(f"stage{stage}", x, "NCHW")
            x = layer(x)
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(self.pre_logits(x), pre_logits)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, nn.Conv2d | nn.Linear):
        assert module.bias is not None
        nn.init.zeros_(module.bias)


HEAD = (4096, 4096)
VGG11 = Config(((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2, HEAD))
VGG13 = Config(((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2, HEAD))
VGG16 = Config(((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3, HEAD))
VGG19 = Config(((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4, HEAD))
bn = partial(replace, norm=True)

VARIANTS = {
    "vgg11": VGG11,
    "vgg11_bn": bn(VGG11),
    "vgg13": VGG13,
    "vgg13_bn": bn(VGG13),
    "vgg16": VGG16,
    "vgg16_bn": bn(VGG16),
    "vgg19": VGG19,
    "vgg19_bn": bn(VGG19),
}
register(VGG, VARIANTS)
