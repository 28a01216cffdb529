"""How much memory a model takes while it runs."""

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from engine.store import held_bytes


def peak_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes of the weights, of the images x (B, 3, H, W), and of the most tensors that a pass holds at once.

    On a CPU, memory that a kernel takes for itself is not seen.
    """
    with torch.inference_mode():
        held = _most_on_gpu(model, x) if x.device.type == "cuda" else _most_on_cpu(model, x)
    return held_bytes([model]) + x.nbytes + held


def _most_on_gpu(model: nn.Module, x: Tensor) -> int:
    before = torch.cuda.memory_allocated(x.device)
    torch.cuda.reset_peak_memory_stats(x.device)
    model(x)
    return torch.cuda.max_memory_allocated(x.device) - before


def _most_on_cpu(model: nn.Module, x: Tensor) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        model(x)
    assert seen.profiler
    assert seen.profiler.kineto_results
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]  # negative where memory is freed
        most = max(most, held)
    return most
