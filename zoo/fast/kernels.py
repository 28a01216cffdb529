"""oneDNN's kernels: weights packed ahead, and what follows a layer computed in it, as PyTorch's own compiler uses them.

These operators are private to PyTorch and may change or go. So only this file names them, `trouble` tries them once,
and whoever uses a kernel compares it with what it replaces.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.fast.layers import Layer, given

mkldnn = torch.ops.mkldnn
CONV_DEFAULTS: tuple[Any, ...] = [1, 1], [0, 0], [1, 1], 1  # stride, padding, dilation, groups


@cache
def trouble() -> str:
    """Why these kernels can't be used on this machine; empty if they can."""
    if not torch.backends.mkldnn.is_available():
        return "this PyTorch has no oneDNN"
    x, weight, bias = torch.arange(24.0).view(1, 2, 3, 4) - 12, torch.arange(12.0).view(6, 2, 1, 1) - 6, torch.ones(6)
    rows, matrix = x.flatten(2).transpose(1, 2), weight.flatten(1)
    try:
        packed = mkldnn._reorder_convolution_weight(weight, [0, 0], [1, 1], [1, 1], 1, list(x.shape))
        conv = mkldnn._convolution_pointwise(x, packed, bias, [0, 0], [1, 1], [1, 1], 1, "relu", [], "")
        packed = mkldnn._reorder_linear_weight(matrix, len(rows[0]))
        linear = mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    except (AttributeError, RuntimeError, TypeError) as error:
        return f"PyTorch {torch.__version__} does not have oneDNN's packed layers as they are used here ({error})"
    same = conv.equal(F.conv2d(x, weight, bias).relu()) and linear.equal(F.linear(rows, matrix, bias))
    return "" if same else "oneDNN's packed layers give other results here"


def pack(layer: Layer, weight: Tensor, x: torch.Size) -> Tensor:
    """A layer's weight in the order in which its kernel reads it, for inputs of shape `x`."""
    if not layer.is_conv:
        return mkldnn._reorder_linear_weight(weight, x[:-1].numel())
    stride, padding, dilation, groups = _geometry(layer)
    return mkldnn._reorder_convolution_weight(weight, padding, stride, dilation, groups, list(x))


def call(layer: Layer, x: Any, other: Any, weight: Any, bias: Any) -> tuple[Any, tuple]:
    """The kernel of a layer and its arguments: tensors, or nodes of a graph. `other` is what is added, or None."""
    after = layer.unary, list(layer.numbers), layer.algorithm
    if not layer.is_conv:
        if other is None:
            return mkldnn._linear_pointwise.default, (x, weight, bias, *after)
        return mkldnn._linear_pointwise.binary, (x, other, weight, bias, "add")
    stride, padding, dilation, groups = _geometry(layer)
    where = padding, stride, dilation, groups
    if other is None:
        return mkldnn._convolution_pointwise.default, (x, weight, bias, *where, *after)
    after = (None, [], None) if layer.unary == "none" else after
    return mkldnn._convolution_pointwise.binary, (x, other, weight, bias, *where, "add", 1.0, *after)


def _geometry(layer: Layer) -> tuple[list[int], list[int], list[int], int]:
    """Stride, padding, dilation and groups of a convolution."""
    told = given(layer.node)[3:]
    stride, padding, dilation, groups = (*told, *CONV_DEFAULTS[len(told) :])
    return _pair(stride), _pair(padding), _pair(dilation), groups


def _pair(sides: list[int]) -> list[int]:
    return list(sides) if len(sides) == 2 else [*sides, *sides]
