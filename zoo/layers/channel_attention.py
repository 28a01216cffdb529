"""Channel attention: look at a whole feature map, then scale each channel by one gate in (0, 1).

The gates say what matters, not where: they are the same at every position of the grid.
"""

import math
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from zoo.layers.norm import Act, LayerNorm2d
from zoo.layers.width import make_divisible


class SqueezeExcite(nn.Module):
    """mean over the grid -> fc1 -> act -> fc2 -> sigmoid -> times x (Hu et al. 2017, arXiv:1709.01507).

    (B, dim, H, W) -> (B, dim, H, W). `hidden` is a sixteenth of `dim`, to the nearest multiple of 8, unless given.
    """

    def __init__(self, dim: int, hidden: int | None = None, act: Act = nn.ReLU, bias: bool = True):
        super().__init__()
        hidden = hidden or max(8, (dim + 64) // 128 * 8)
        self.fc1 = nn.Conv2d(dim, hidden, 1, bias=bias)
        self.act = act()
        self.fc2 = nn.Conv2d(hidden, dim, 1, bias=bias)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gates = self.gate(self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))))  # (B, dim, 1, 1)
        return x * gates


def gates_of(share: float) -> Callable[..., SqueezeExcite]:
    """Make SqueezeExcite for any `dim` and act, with hidden channels of a share of it, to the nearest multiple of 8."""
    return lambda dim, act=nn.ReLU: SqueezeExcite(dim, make_divisible(dim * share, least=0), act)


class EfficientChannelAttention(nn.Module):
    """mean over the grid -> 1d conv along the channels -> sigmoid -> times x (Wang et al. 2019, arXiv:1910.03151).

    (B, C, H, W) -> (B, C, H, W). The kernel grows with the logarithm of `dim` (the paper's equation 12); nothing else
    depends on `dim`, so C may be smaller, as it is after pruning.
    """

    def __init__(self, dim: int):
        super().__init__()
        kernel = max(3, int((math.log2(dim) + 1) / 2) // 2 * 2 + 1)
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gates = self.gate(self.conv(x.mean((2, 3))[:, None]))  # (B, 1, C)
        return x * gates[:, 0, :, None, None]


class EffectiveSqueezeExcite(nn.Module):
    """mean over the grid -> 1x1 conv -> hard sigmoid -> times x, in CenterMask. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.fc = nn.Conv2d(dim, dim, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc(x.mean((2, 3), keepdim=True)))


class Gates(nn.Module):
    """SqueezeExcite as the mobile nets' checkpoints name it, with any activation and any squashing of the gates.

    (B, dim, H, W) -> (B, dim, H, W).
    """

    def __init__(self, dim: int, hidden: int, act: Act = nn.ReLU, squash: Act = nn.Sigmoid):
        super().__init__()
        self.conv_reduce = nn.Conv2d(dim, hidden, 1)
        self.act1 = act()
        self.conv_expand = nn.Conv2d(hidden, dim, 1)
        self.gate = squash()

    def forward(self, x: Tensor) -> Tensor:
        gates = self.conv_expand(self.act1(self.conv_reduce(x.mean((2, 3), keepdim=True))))  # (B, dim, 1, 1)
        return x * self.gate(gates)


class GlobalContext(nn.Module):
    """mean over the grid, weighted by softmax of a 1x1 conv -> fc1 -> norm, act -> fc2 -> sigmoid -> times x.

    (B, dim, H, W) -> (B, dim, H, W). Cao et al. 2019, "GCNet", arXiv:1904.11492, whose context is added, not a gate.
    """

    def __init__(self, dim: int, hidden: int, act: Act = nn.ReLU):
        super().__init__()
        self.conv_attn = nn.Conv2d(dim, 1, 1)
        self.mlp_scale = context_mlp(dim, hidden, act)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.mlp_scale(context(x, self.conv_attn(x))))


class AddedContext(nn.Module):
    """GlobalContext as in the paper: fc2's output is added to x at every position. (B, dim, H, W) -> same."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv_attn = nn.Conv2d(dim, 1, 1)
        self.mlp_add = context_mlp(dim, dim // 8, nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp_add(context(x, self.conv_attn(x)))


def context(x: Tensor, scores: Tensor) -> Tensor:
    """Average the grid by softmax of scores. (B, C, H, W), (B, 1, H, W) -> (B, C, 1, 1)."""
    shares = scores.flatten(2).softmax(2)  # (B, 1, H * W)
    return (x.flatten(2) @ shares.transpose(1, 2))[..., None]


def context_mlp(dim: int, hidden: int, act: Act) -> nn.Sequential:
    """(B, dim, 1, 1) -> (B, dim, 1, 1)."""
    layers = nn.Conv2d(dim, hidden, 1), LayerNorm2d(hidden), act(), nn.Conv2d(hidden, dim, 1)
    return nn.Sequential(OrderedDict(zip(("fc1", "norm", "act", "fc2"), layers, strict=True)))
