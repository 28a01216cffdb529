"""From a model to the straight line of operators that it runs for one shape of image, without what never changes.

model, image -> torch.fx graph of ATen operators -> the same, with all that no pixel affects computed ahead
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_map

aten = torch.ops.aten
ROOM = 0.25  # of the weights' bytes: so much is kept of what was computed ahead; the rest is computed at each pass
IDENTITIES = aten.dropout.default, aten.detach.default, aten.alias.default


def capture(model: Callable[[Tensor], Tensor], sample: Tensor) -> fx.GraphModule:
    """Record the operators that a model in eval mode runs for `sample`; another shape needs another graph."""
    with torch.no_grad():
        module = make_fx(model, tracing_mode="real", pre_dispatch=True)(sample)
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in IDENTITIES:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    _fold_constants(module)
    clean(module)
    return module


def clean(module: fx.GraphModule) -> None:
    """Remove operators and tensors that nothing reads any more."""
    module.graph.eliminate_dead_code()
    read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for store in (module._parameters, module._buffers):
        for name in [name for name in store if name not in read]:
            del store[name]
    module.recompile()


def _evaluate(node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    """Run one operator on known inputs."""
    args, kwargs = tree_map(lambda leaf: known[leaf] if isinstance(leaf, fx.Node) else leaf, (node.args, node.kwargs))
    assert callable(node.target)
    return node.target(*args, **kwargs)


def _fold_constants(module: fx.GraphModule) -> None:
    """Compute what depends on weights and shapes alone: tables of positions, masks of windows, flipped weights."""
    known: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for node in module.graph.nodes:
            if node.op == "get_attr":
                known[node] = getattr(module, node.target)
            elif node.op == "call_function" and all(given in known for given in node.all_input_nodes):
                known[node] = _evaluate(node, known)
    edge = [n for n in known if n.op != "get_attr" and any(user not in known for user in n.users)]
    tables = sorted((n for n in edge if isinstance(known[n], Tensor)), key=lambda n: known[n].nbytes)
    weights = {_memory(weight) for weight in module.parameters()}
    room = ROOM * sum(weight.nbytes for weight in module.parameters())
    for node in tables:
        taken = 0 if _memory(known[node]) in weights else known[node].nbytes
        if taken <= room:
            room -= taken
            _replace(module, node, known[node])
            edge.remove(node)
    written = {_memory(known[n]) for n in _with_inputs(edge)}
    for node in reversed(known):  # torch.fx takes what writes into a tensor for alive always
        if not node.users and _memory(known[node]) not in written:
            module.graph.erase_node(node)


def _with_inputs(nodes: list[fx.Node]) -> set[fx.Node]:
    """Nodes and all that they are computed from."""
    found, new = set(nodes), set(nodes)
    while new:
        new = {given for node in new for given in node.all_input_nodes} - found
        found |= new
    return found


def _memory(value: Any) -> int | None:
    """Where a tensor lies, which is where its views lie; None for anything else."""
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) else None


def _replace(module: fx.GraphModule, node: fx.Node, value: Tensor) -> None:
    """Let a graph read a tensor in place of computing it."""
    name = f"computed_{node.name}"
    module.register_buffer(name, value.detach())
    with module.graph.inserting_before(node):
        node.replace_all_uses_with(module.graph.get_attr(name))
