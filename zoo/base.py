"""What every model shares: image (B, 3, H, W) -> forward_features -> forward_head -> logits (B, num_classes)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from zoo.layers.adapt import Layout, adapt
from zoo.probe import Grid

Readout = Literal["mean", "norm_mean", "mean_norm", "token", "attention_pool", "flatten"]

# Why a model has no attention to show: each completes "There is no attention to show: ...".
CONVOLUTIONS = "it is made of convolutions alone"
CHANNEL_GATES = "its gates weigh whole channels, the same at every position, and the rest is convolutions"


@dataclass(frozen=True, kw_only=True)
class Config:
    """The options of every architecture; a family's own Config extends it."""

    num_classes: int = 1000  # length of the output; 0: the pooled features
    drop: float = 0.0  # rate of dropout before the last linear layer
    drop_path: float = 0.0  # rate of stochastic depth in the last block
    img_size: int | None = None  # side in pixels that the model is built for; None: no part of it depends on a size


class Backbone(nn.Module):
    """A family subclasses this, writes forward_features, and sets self.head and self.num_features.

    `readout` says how the last features become logits, hence where the tap "cam" is (zoo/probe.py) and which formula is
    right there: "mean" (grid mean -> fc), "norm_mean" (norm -> mean -> fc), "mean_norm" (mean -> norm -> fc), "token"
    (class token -> fc), "attention_pool", "flatten" (the whole grid -> MLP).
    """

    num_features: int
    num_classes: int
    img_size: int | None = None  # side in pixels of the image that it is built for; None: any size
    only_size: bool = False  # it takes no image but one of img_size x img_size
    smallest: int = 1  # side in pixels of the smallest image that it takes
    readout: Readout
    head: nn.Module
    read_tokens: int = 1  # if the readout is "token": how many leading tokens it reads
    no_attention: str | None = None  # why there is no attention to show, as one clause; None if there is
    no_rollout: str | None = None  # why its attention cannot be followed through the layers, as one clause
    classifier_key: ClassVar[str] = "head.fc"  # the last linear layer, named as in the state dict
    layouts: ClassVar[tuple[Layout, ...]] = ()  # of published files, besides open_clip's

    @classmethod
    def fit(cls, cfg: Any, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read from a checkpoint which config fields must change to fit it; here, the number of classes."""
        weight = state_dict.get(f"{cls.classifier_key}.weight")
        return {"num_classes": 0 if weight is None else weight.shape[0]}

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert a published file with another layout to this model's keys and shapes."""
        return adapt(state_dict, cls.layouts, cls.classifier_key)

    def read(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Read logits from the tokens (B, N, C) after any block, if all blocks have the last one's shape."""
        raise NotImplementedError

    def patch_logits(self, tokens: Tensor) -> Tensor:
        """Read logits from each token of the tap "patches", if the head does. (B, N, C) -> (B, N, num_classes)."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x, pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, 3, H, W) -> logits (B, num_classes). Raises ValueError for what it can't take: see `check`."""
        self.check(x)
        return self.forward_head(self.forward_features(x))

    def check(self, x: Tensor) -> None:
        """Raise a ValueError unless x is a batch of images that the model takes."""
        if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point():
            raise ValueError(
                f"A tensor of shape {tuple(x.shape)} and {x.dtype} is no batch of images: give (B, 3, height, width) "
                "in floating point, as zoo.preprocess(photo, checkpoint)[None] does."
            )
        height, width = x.shape[2:]
        side = min(height, width)
        if side == 0:
            raise ValueError(f"An image of {height}x{width} has no pixels.")
        if self.only_size and (height, width) != (self.img_size, self.img_size):
            size = f"{self.img_size}x{self.img_size}"
            raise ValueError(f"This model takes images of {size} only: resize the {height}x{width} image.")
        if side < self.smallest:
            raise ValueError(f"This model needs images of {self.smallest} pixels a side or more: {side} is too few.")


class MeanReadout(Backbone):
    """A Backbone whose last layer, `classifier_key`, reads the mean of the features (B, C, H, W) after `self.drop`."""

    readout = "mean"
    drop: nn.Module

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(x.mean((2, 3)))
        return x if pre_logits else self.get_submodule(self.classifier_key)(x)
