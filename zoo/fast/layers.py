"""Which operators of a graph can be computed inside the convolution or linear layer that they follow.

conv -> relu                                one kernel
conv -> add(shortcut) -> relu               one kernel
linear -> mul(constant) -> add(shortcut)    one kernel; the constant goes into the weights
linear -> permute -> mul -> add             one kernel; the shortcut is permuted the other way, and then the result
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten
CONV, LINEAR = aten.conv2d.default, aten.linear.default
SUMS = aten.add.Tensor, aten.add_.Tensor
PRODUCTS = aten.mul.Tensor, aten.mul_.Tensor
UNARY: dict[Any, str] = {  # operator -> oneDNN's name for it
    aten.relu: "relu",
    aten.sigmoid: "sigmoid",
    aten.tanh: "tanh",
    aten.silu: "swish",
    aten.hardswish: "hardswish",
    aten.hardsigmoid: "hardsigmoid",
    aten.leaky_relu: "leaky_relu",
    aten.hardtanh: "hardtanh",
    aten.gelu: "gelu",
}
UNARY |= {getattr(aten, f"{op.__name__}_"): name for op, name in UNARY.items()}  # in place, too
NUMBERS = {"leaky_relu": [0.01], "hardtanh": [-1.0, 1.0]}  # of an operator that is called without them


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, and what follows it and can be computed with it, in this order."""

    nodes: tuple[fx.Node, ...]  # the layer itself first; what the last gives, the kernel gives
    scale: Tensor | None = None  # of each channel
    other: fx.Node | None = None  # what is added
    unary: str = "none"  # oneDNN's name of the activation, its numbers, and how it is computed
    numbers: tuple[float, ...] = ()
    algorithm: str = ""
    order: tuple[int, ...] | None = None  # how the dimensions are permuted at the end

    @property
    def node(self) -> fx.Node:
        return self.nodes[0]

    @property
    def last(self) -> fx.Node:
        return self.nodes[-1]

    @property
    def is_conv(self) -> bool:
        return self.node.target is CONV

    @property
    def x(self) -> fx.Node:
        return given(self.node)[0]

    @property
    def weight(self) -> fx.Node:
        return given(self.node)[1]

    @property
    def bias(self) -> fx.Node | None:
        return (*given(self.node), None)[2]


def find(module: fx.GraphModule) -> Iterator[Layer]:
    """Every layer whose weights are constant, each with as much of what follows as one kernel computes."""
    taken: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.target in (CONV, LINEAR) and all(a is None or is_constant(a) for a in given(node)[1:3]):
            layer = _grown(module, Layer((node,)), taken)
            taken.update(layer.nodes)
            yield layer


def given(node: fx.Node) -> tuple[Any, ...]:
    """What an operator is called with."""
    return node.args


def is_constant(node: fx.Node) -> bool:
    """Whether a node only reads a tensor that the graph holds."""
    return node.op == "get_attr"


def operator(node: fx.Node) -> Any:
    """Which operator a node calls, whatever the kinds of its arguments; None if it calls something else."""
    return getattr(node.target, "overloadpacket", None)


def shape_of(node: Any) -> torch.Size | None:
    known = node.meta.get("tensor_meta") if isinstance(node, fx.Node) else None
    return known.shape if known is not None else None


def _grown(module: fx.GraphModule, layer: Layer, taken: set[fx.Node]) -> Layer:
    order, nodes = list(range(len(shape_of(layer.node) or ()))), [layer.node]
    while len(nodes[-1].users) == 1:
        (user,) = nodes[-1].users
        if user in taken:  # a sum of two layers is computed in one of them
            break
        if (turned := _turned(user, order)) is not None:
            order = turned
        elif grown := _absorbed(module, layer, nodes[-1], user, order):
            layer = replace(grown, nodes=(*nodes, user), order=None if order == sorted(order) else tuple(order))
        else:
            break
        nodes.append(user)
    return layer


def _absorbed(module: fx.GraphModule, layer: Layer, node: fx.Node, user: fx.Node, order: list[int]) -> Layer | None:
    """The layer with `user`, which reads `node`; None if one kernel can't compute both."""
    if layer.unary != "none":
        return None
    if name := UNARY.get(operator(user)):
        return _activated(layer, user, name)
    if layer.other is not None:
        return None
    if user.target in PRODUCTS:
        return _scaled(module, layer, _partner(user, node), order)
    if user.kwargs or shape_of(user) != shape_of(node):
        return None
    if user.target in SUMS and shape_of(_partner(user, node)) == shape_of(user):
        return replace(layer, other=_partner(user, node))
    if user.target is aten.addcmul.default and shape_of(given(user)[0]) == shape_of(user):
        scaled = _scaled(module, layer, given(user)[2] if given(user)[1] is node else given(user)[1], order)
        return scaled and replace(scaled, other=given(user)[0])
    return None


def _activated(layer: Layer, user: fx.Node, name: str) -> Layer | None:
    if layer.other is not None and not (layer.is_conv and name == "relu"):
        return None
    told = list(given(user)[1:])
    numbers = told + NUMBERS[name][len(told) :] if name in NUMBERS else []
    algorithm = str(user.kwargs.get("approximate", "none")) if name == "gelu" else ""
    return replace(layer, unary=name, numbers=tuple(numbers), algorithm=algorithm)


def _scaled(module: fx.GraphModule, layer: Layer, factor: Any, order: list[int]) -> Layer | None:
    """The layer times a constant factor for each of its channels; None if the factor is something else."""
    if not isinstance(factor, fx.Node) or not is_constant(factor):
        return None
    value = getattr(module, str(factor.target))
    channels = 1 if layer.is_conv else len(order) - 1
    count = (shape_of(layer.node) or ())[channels]
    value = value.reshape((1,) * (len(order) - value.ndim) + value.shape)
    if not value.numel() == value.shape[order.index(channels)] == count:
        return None
    return replace(layer, scale=value.flatten() if layer.scale is None else value.flatten() * layer.scale)


def _partner(user: fx.Node, node: fx.Node) -> Any:
    """The other argument of a sum or product."""
    return given(user)[1] if given(user)[0] is node else given(user)[0]


def _turned(user: fx.Node, order: list[int]) -> list[int] | None:
    """The order of dimensions after an operator that permutes them; None if it is another operator."""
    if user.target is aten.permute.default:
        return [order[dim] for dim in given(user)[1]]
    if user.target is aten.transpose.int:
        turned, (first, second) = list(order), given(user)[1:]
        turned[first], turned[second] = turned[second], turned[first]
        return turned
    return None
