"""Replace the layers of a graph by kernels with packed weights, each after a trial beside what it replaces."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from zoo.fast import kernels
from zoo.fast.capture import aten, clean
from zoo.fast.layers import Layer, find, given, is_constant, operator

CLOSE = {  # how far a result may be from what it replaces, as a share of the largest magnitude
    torch.float32: 1e-4,
    torch.bfloat16: 3e-2,
    torch.float16: 3e-3,
}
LAYERS = aten.conv1d, aten.conv2d, aten.convolution, aten.linear
MOVING = "its weights depend on the image"
OTHER = "only linear layers and 2-D convolutions with padding in numbers have a packed kernel"


class Packed(NamedTuple):
    """What a kernel reads besides its inputs."""

    weight: Tensor
    bias: Tensor | None


def pack_layers(module: fx.GraphModule, image: Tensor, paths: dict[int, str]) -> dict[str, str]:
    """Pack every layer of a graph that can be packed. -> which were left, by their paths, and why.

    `paths` tells what the model calls a weight, by its id.
    """
    if why := kernels.trouble():
        return {"": why}
    layers = list(find(module))
    trial = _Trial(module, layers)
    trial.run(image)
    found = {layer.node for layer in layers}
    left = {_path(module, layer.node, paths): why for layer, why in trial.left.items()}
    others = [node for node in module.graph.nodes if operator(node) in LAYERS and node not in found]
    left |= {_path(module, node, paths): OTHER if is_constant(given(node)[1]) else MOVING for node in others}
    put: dict[fx.Node, fx.Node] = {}
    for layer, packed in trial.packed.items():
        put[layer.last] = _put(module, layer, packed, put)
    clean(module)
    return left


def compare(found: Tensor, expected: Tensor) -> tuple[float, float]:
    """The largest change of a value, and the largest magnitude of those that are expected."""
    found, expected = found.float(), expected.float()
    return (found - expected).abs().max().item(), expected.abs().max().item()


class _Trial(fx.Interpreter):
    """Runs a graph, and beside each layer its kernel on the same inputs."""

    def __init__(self, module: fx.GraphModule, layers: list[Layer]):
        super().__init__(module)
        self.first, self.last = {layer.node: layer for layer in layers}, {layer.last: layer for layer in layers}
        self.sums = {n: layer for layer in layers for n in layer.nodes if layer.other in n.all_input_nodes}
        self.inputs: dict[Layer, Tensor] = {}
        self.others: dict[Layer, Tensor] = {}
        self.packed: dict[Layer, Packed] = {}
        self.left: dict[Layer, str] = {}

    def run_node(self, n: fx.Node) -> Any:
        if begun := self.first.get(n):
            self.inputs[begun] = self.env[begun.x]
        if (sums := self.sums.get(n)) and sums.other:
            self.others[sums] = self.env[sums.other].clone()  # the sum may take its place
        expected = super().run_node(n)
        if layer := self.last.get(n):
            self._try(layer, self.inputs.pop(layer), self.others.pop(layer, None), expected)
        return expected

    def _try(self, layer: Layer, x: Tensor, other: Tensor | None, expected: Tensor) -> None:
        try:
            packed = self._packed(layer, x)
            kernel, args = kernels.call(layer, x, _back(other, layer.order), *packed)
            found = _turn(kernel(*args), layer.order)
        except Exception as error:  # a private operator can fail in any way
            self.left[layer] = f"its packed kernel failed: {str(error).partition(chr(10))[0]}"
            return
        difference, reach = compare(found, expected) if found.shape == expected.shape else (float("inf"), 0.0)
        if difference <= CLOSE[expected.dtype] * reach:
            self.packed[layer] = packed
        else:
            self.left[layer] = f"its packed kernel differs by {difference:.2g} where the largest value is {reach:.2g}"

    def _packed(self, layer: Layer, x: Tensor) -> Packed:
        weight = self.fetch_attr(str(layer.weight.target))
        bias = self.fetch_attr(str(layer.bias.target)) if layer.bias else None
        if layer.scale is not None:
            weight = weight * layer.scale.view(-1, *[1] * (weight.ndim - 1))
            bias = None if bias is None else bias * layer.scale
        return Packed(kernels.pack(layer, weight, x.shape), bias)


def _put(module: fx.GraphModule, layer: Layer, packed: Packed, put: dict[fx.Node, fx.Node]) -> fx.Node:
    """Write a layer's kernel into the graph in its place. -> the node that gives its result"""
    graph, name = module.graph, layer.node.name
    with graph.inserting_before(layer.last):
        weight = _constant(module, f"packed_{name}", packed.weight)
        bias = None if packed.bias is None else _constant(module, f"bias_{name}", packed.bias)
        other = put.get(layer.other, layer.other) if layer.other else None
        if other and layer.order:
            other = graph.call_function(aten.permute.default, (other, _inverse(layer.order)))
        made = graph.call_function(*kernels.call(layer, layer.x, other, weight, bias))
        if layer.order:
            made = graph.call_function(aten.permute.default, (made, list(layer.order)))
    layer.last.replace_all_uses_with(made)
    for node in reversed(layer.nodes):
        graph.erase_node(node)
    return made


def _constant(module: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    module.register_buffer(name, value.detach())
    return module.graph.get_attr(name)


def _turn(result: Tensor, order: tuple[int, ...] | None) -> Tensor:
    return result.permute(order) if order else result


def _back(other: Tensor | None, order: tuple[int, ...] | None) -> Tensor | None:
    return other.permute(_inverse(order)) if other is not None and order else other


def _inverse(order: tuple[int, ...]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _path(module: fx.GraphModule, node: fx.Node, paths: dict[int, str]) -> str:
    """What the model calls a layer; a number of the graph's if it makes its weight as it runs."""
    weight = given(node)[1]
    known = getattr(module, str(weight.target)) if is_constant(weight) else None
    return paths.get(id(known), node.name).removesuffix(".weight")
