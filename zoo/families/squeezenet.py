"""SqueezeNet: AlexNet's accuracy with fifty times fewer weights, because few channels reach the 3x3 convolutions.

    image -> conv (H/2) -> 3 stages, each a max pool, then fire modules (H/16) -> 1x1 conv to classes -> relu -> mean
    fire  -> 1x1 conv to few channels (squeeze), relu -> 1x1 conv beside 3x3 conv (expand), relu -> both, concatenated

Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
arXiv:1602.07360. Version 1.1 is the authors' own: a smaller stem and earlier pools, 2.4 times less to compute.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.drop import refuse_drop_path
from zoo.layers.head import conv_classifier
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one SqueezeNet from another."""

    stem: tuple[int, int]  # channels and kernel of the first conv
    fires: tuple[tuple[tuple[int, int], ...], ...]  # of each stage: channels squeezed to, and of each half expanded to


class Fire(nn.Module):
    """(B, dim_in, H, W) -> (B, 2 * dim, H, W)."""

    def __init__(self, dim_in: int, squeezed: int, dim: int):
        super().__init__()
        self.squeeze = nn.Conv2d(dim_in, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, dim, 1)
        self.expand3x3 = nn.Conv2d(squeezed, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu_()
        return torch.cat([self.expand1x1(x).relu_(), self.expand3x3(x).relu_()], 1)


class SqueezeNet(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/16, W/16) -> logits (B, num_classes).

    Its stem does not pad, so the outer cells leave a margin of the image. A class's logit is the mean of its map after
    a relu: gradients differ from place to place, as in a head that reads the whole grid.
    """

    readout = "flatten"
    classifier_key = "classifier.1"
    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        refuse_drop_path(cfg.drop_path)
        dim, kernel = cfg.stem
        self.smallest = kernel + 14
        self.features = nn.Sequential(nn.Conv2d(3, dim, kernel, 2), nn.ReLU(inplace=True))
        self.ends: dict[int, str] = {}  # taps after layers of that number
        for i, stage in enumerate(cfg.fires, 1):
            self.features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            for squeezed, half in stage:
                self.features.append(Fire(dim, squeezed, half))
                dim = 2 * half
            self.ends[len(self.features) - 1] = f"stage{i}"
        self.classifier = nn.Sequential(nn.Dropout(cfg.drop), conv_classifier(dim, cfg.num_classes))
        self.num_features, self.num_classes = dim, cfg.num_classes
        self.apply(_init)
        if isinstance(last := self.classifier[1], nn.Conv2d):
            nn.init.normal_(last.weight, std=0.01)

    def forward_features(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.ends:
                x = tap(self.ends[i], x, "NCHW")
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return (x if pre_logits else self.classifier(x).relu()).mean((2, 3))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        assert module.bias is not None
        nn.init.kaiming_uniform_(module.weight)
        nn.init.zeros_(module.bias)


VARIANTS = {
    "squeezenet1_0": Config(
        (96, 7),
        (((16, 64), (16, 64), (32, 128)), ((32, 128), (48, 192), (48, 192), (64, 256)), ((64, 256),)),
    ),
    "squeezenet1_1": Config(
        (64, 3),
        (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256))),
    ),
}
register(SqueezeNet, VARIANTS)
