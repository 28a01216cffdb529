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
UNARY = {  # operator -> oneDNN's name for it
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
        return node_of(self.node.args[0])

    @property
    def weight(self) -> fx.Node:
        return node_of(self.node.args[1])

    @property
    def bias(self) -> fx.Node | None:
        return node_of(self.node.args[2]) if len(self.node.args) > 2 and self.node.args[2] is not None else None


def find(module: fx.GraphModule) -> Iterator[Layer]:
    """Every layer whose weights are constant, each with as much of what follows as one kernel computes."""
    taken: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.target in (CONV, LINEAR) and all(a is None or a.op == "get_attr" for a in node.args[1:3]):
            layer = _grown(module, Layer((node,)), taken)
            taken.update(layer.nodes)
            yield layer


def node_of(argument: Any) -> fx.Node:
    assert isinstance(argument, fx.Node)
    return argument


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
    if name := UNARY.get(getattr(user.target, "overloadpacket", None)):
        return _activated(layer, user, name)
    if layer.other is not None:
        return None
    if user.target in PRODUCTS:
        return _scaled(module, layer, _partner(user, node), order)
    if user.kwargs or shape_of(user) != shape_of(node):
        return None
    if user.target in SUMS and shape_of(_partner(user, node)) == shape_of(user):
        return replace(layer, other=_partner(user, node))
    if user.target is aten.addcmul.default and shape_of(user.args[0]) == shape_of(user):
        scaled = _scaled(module, layer, user.args[2] if user.args[1] is node else user.args[1], order)
        return scaled and replace(scaled, other=node_of(user.args[0]))
    return None


def _activated(layer: Layer, user: fx.Node, name: str) -> Layer | None:
    if layer.other is not None and not (layer.is_conv and name == "relu"):
        return None
    given = list(user.args[1:])
    numbers = given + NUMBERS[name][len(given) :] if name in NUMBERS else []
    algorithm = str(user.kwargs.get("approximate", "none")) if name == "gelu" else ""
    return replace(layer, unary=name, numbers=tuple(numbers), algorithm=algorithm)


def _scaled(module: fx.GraphModule, layer: Layer, factor: Any, order: list[int]) -> Layer | None:
    """The layer times a constant factor for each of its channels; None if the factor is something else."""
    if not isinstance(factor, fx.Node) or factor.op != "get_attr":
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
    return user.args[1] if user.args[0] is node else user.args[0]


def _turned(user: fx.Node, order: list[int]) -> list[int] | None:
    """The order of dimensions after an operator that permutes them; None if it is another operator."""
    if user.target is aten.permute.default:
        return [order[dim] for dim in user.args[1]]
    if user.target is aten.transpose.int:
        turned, (first, second) = list(order), user.args[1:]
        turned[first], turned[second] = turned[second], turned[first]
        return turned
    return None
