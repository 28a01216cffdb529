"""A forward pass on the meta device, where tensors have shapes but no values: nothing is loaded or computed."""

from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

TAKES_MIXED = (torch.ops.aten.index, torch.ops.aten.index_put_)  # a mask stays real: its values set the shape
FILLS = frozenset(  # what gives a new parameter its values, in place
    (
        *(nn.init.constant_, nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_),
        *(Tensor.fill_, Tensor.mul_, Tensor.normal_, Tensor.uniform_, Tensor.zero_),
    )
)
Model = TypeVar("Model", bound=nn.Module)


def meta_copy(model: Model) -> Model:
    """Copy a model without its values: every parameter and buffer of the copy is on the meta device."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for p in module.parameters(recurse=False):
            memo[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=False)
        for b in module.buffers(recurse=False):
            memo[id(b)] = torch.empty_like(b, device="meta")
    return deepcopy(model, memo)


class Unfilled(TorchFunctionMode):
    """Lets a model be built on the meta device without drawing weights, which would have no values there.

    Otherwise the first draw in a process would import PyTorch's compiler, for its shape rules: 0.8 s and 70 MB.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FILLS:
            filled = args[0] if args else kwargs["tensor"]
            if filled.is_meta:
                return filled
        return func(*args, **kwargs)


class OnMeta(TorchDispatchMode):
    """Lets a model run on the meta device although it makes tables of its own.

    Tables that a model makes from the image's size alone are computed for real, on the CPU, even if it asks for its own
    device: only values tell which slots of a window are padding. They move to meta when they meet a meta tensor.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not tensors and "device" in kwargs:
            kwargs = kwargs | {"device": "cpu"}
        elif any(t.is_meta for t in tensors) and func.overloadpacket not in TAKES_MIXED:
            args, kwargs = tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, (args, kwargs))
        return self.run(func, args, kwargs)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        return func(*args, **kwargs)
