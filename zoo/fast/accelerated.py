"""A copy of a model for inference that gives the same answers sooner."""

import time

import torch
from torch import Tensor, fx, nn

from zoo.base import Backbone
from zoo.fast.capture import aten, capture
from zoo.fast.cuda import Replayed
from zoo.fast.pack import CLOSE, compare, pack_layers
from zoo.fuse import fuse

SMALL = 8  # images: a GPU computes so few in less time than it takes to send it their operators one by one


class Accelerated(nn.Module):
    """A model for inference on images of one shape. (B, 3, H, W) -> the model's outputs, float32.

    It computes in `dtype`, and took `seconds` to make. `difference` is the largest change of an output on the sample,
    and `reach` the largest magnitude of an output there. `left` says why a layer, by its path, or the whole, "", is as
    it was.
    """

    def __init__(self, run: nn.Module, shape: torch.Size, dtype: torch.dtype, left: dict[str, str]):
        super().__init__()
        self.run, self.shape, self.dtype, self.left = run, shape, dtype, left
        self.difference = self.reach = self.seconds = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if x.shape != self.shape:
            raise ValueError(
                f"This copy takes images of shape {tuple(self.shape)}, not {tuple(x.shape)}: make another."
            )
        return self.run(x.to(self.dtype)).float()


def accelerate(model: Backbone, sample: Tensor, dtype: torch.dtype = torch.float32) -> Accelerated:
    """Make a copy of a model that gives its outputs sooner, for images of the shape of `sample`, (B, 3, H, W).

    In float32 the outputs are the same up to rounding; bfloat16 and float16 are faster and less exact. Gradients need
    the model itself, which does not change. Batch norms are folded, and what does not depend on the image is computed
    ahead. On a CPU weights are packed for oneDNN, with activations and sums computed in the layers that they follow;
    on a GPU small batches are replayed as a CUDA graph. Each layer, and then the whole, is compared on `sample` with
    what it replaces, and is left as it was if it fails or differs. Raises ValueError for a model in training mode.
    """
    if model.training:
        raise ValueError("Only a model in eval mode can be accelerated: call eval() first.")
    begun = time.perf_counter()
    with torch.no_grad():
        expected = model(sample).float()
        fast = _accelerated(model, sample, dtype)
        fast.difference, fast.reach = compare(fast(sample), expected)
        if not fast.difference <= CLOSE[dtype] * fast.reach:
            why = f"its outputs would change by {fast.difference:.2g} where the largest is {fast.reach:.2g}"
            fast = Accelerated(model, sample.shape, sample.dtype, {"": why})
            fast.reach = expected.abs().max().item()
    fast.seconds = time.perf_counter() - begun
    return fast.eval()


def _accelerated(model: Backbone, sample: Tensor, dtype: torch.dtype) -> Accelerated:
    x = sample.to(dtype)
    try:
        folded = fuse(model, (sample.shape[-2], sample.shape[-1])).to(dtype)
        graph = capture(folded, x)
    except Exception as error:  # a model that cannot be recorded can fail in any way
        why = f"its operators cannot be recorded: {str(error).partition(chr(10))[0]}"
        return Accelerated(model, x.shape, sample.dtype, {"": why})
    _lay_channels_last(graph)
    if x.is_cuda:
        return Accelerated(Replayed(graph, x) if len(x) <= SMALL else graph, x.shape, dtype, {})
    left = pack_layers(graph, x, {id(weight): path for path, weight in folded.named_parameters()})
    return Accelerated(graph, x.shape, dtype, left)


def _lay_channels_last(module: fx.GraphModule) -> None:
    """Let a graph begin with the image's channels side by side, as kernels read and leave them."""
    (image,) = (node for node in module.graph.nodes if node.op == "placeholder")
    with module.graph.inserting_after(image):
        laid = module.graph.call_function(aten.contiguous.default, (image,), {"memory_format": torch.channels_last})
    laid.meta = image.meta
    image.replace_all_uses_with(laid, delete_user_cb=lambda user: user is not laid)
    module.recompile()
