"""The effect of each pixel on a class score, by gradients with respect to the image.

Values are summed over the three colours, except by the two methods that show magnitude without sign. Noise comes from a
seed, never from PyTorch's shared generator, so that threads do not disturb each other.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explain.cam import pick_targets, scores
from explain.result import Explanation, ExplanationError
from explain.steps import Progress, at_once, forward, silent
from zoo.base import Backbone
from zoo.probe import frozen_attention, frozen_norm

NOISE = 0.15  # of the image's range (Smilkov et al. 2017, section 3.2)
Target = int | list[int] | None
Baseline = Literal["grey", "blur"] | Tensor


class Scorer:
    """The score to explain, and its gradient, for the classes picked for images x."""

    def __init__(self, model: Backbone, x: Tensor, target: Target, contrast: int | None, progress: Progress = silent):
        self.model, self.contrast = model, contrast
        logits = forward(model, x, progress)
        self.targets = pick_targets(logits, target)
        self.score = scores(logits, self.targets, contrast).float().tolist()

    def __call__(self, x: Tensor, i: int) -> Tensor:
        """Score images (n, 3, H, W), all for the class of image i. -> (n,)."""
        return scores(self.model(x), [self.targets[i]] * len(x), self.contrast)

    def gradient(self, x: Tensor, i: int) -> Tensor:
        with torch.enable_grad():
            # In channels-last memory, a convolution's gradient by its input takes a tenth less time on a CPU.
            x = x.detach().clone(memory_format=torch.channels_last).requires_grad_()
            return torch.autograd.grad(self(x, i).sum(), x)[0]

    def explanation(self, raw: list[Tensor], method: str, source: str, seed: int | None = None) -> Explanation:
        result = Explanation(torch.stack(raw).cpu(), method, source, self.targets, self.contrast, self.score, seed=seed)
        result.warn_if_empty(torch.finfo(torch.float32).tiny)
        return result


def make_baseline(x: Tensor, baseline: Baseline) -> Tensor:
    """An image without content for each of x: mean grey, the blurred image, or a given one."""
    if isinstance(baseline, Tensor):
        return baseline.expand_as(x)
    if baseline == "grey":
        return torch.zeros_like(x)
    return blur(x)


def blur(x: Tensor) -> Tensor:
    """Gaussian blur with a standard deviation of 1/20 of the longer side. (B, 3, H, W) -> (B, 3, H, W)."""
    sigma = max(x.shape[2:]) / 20
    reach = min(int(2 * sigma), min(x.shape[2:]) - 1)
    places = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-places.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="reflect"), kernel, groups=3)
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="reflect"), kernel.transpose(2, 3), groups=3)


def explain_saliency(model: Backbone, x: Tensor, target: Target = None, contrast: int | None = None) -> Explanation:
    """Largest absolute gradient of the three colours (Simonyan et al. 2013, arXiv:1312.6034). -> (B, H, W)."""
    score = Scorer(model, x, target, contrast)
    raw = [score.gradient(x[i : i + 1], i)[0].abs().amax(0) for i in range(len(x))]
    return score.explanation(raw, "saliency", "image")


def explain_input_x_gradient(
    model: Backbone, x: Tensor, target: Target = None, contrast: int | None = None
) -> Explanation:
    """Gradient times image, from mean grey (Shrikumar et al. 2016, arXiv:1605.01713). -> (B, H, W)."""
    score = Scorer(model, x, target, contrast)
    raw = [(x[i] * score.gradient(x[i : i + 1], i)[0]).sum(0) for i in range(len(x))]
    return score.explanation(raw, "input_x_gradient", "image")


def explain_conservative(model: Backbone, x: Tensor, target: Target = None, contrast: int | None = None) -> Explanation:
    """Gradient times image, with attention weights and the norms' deviations held fixed. -> (B, H, W).

    The relevance that a layer passes back then adds up to what it received, except for biases and nonlinear activations
    (Ali et al. 2022, "XAI for Transformers: Better Explanations through Conservative Propagation", arXiv:2202.07304).
    """
    with frozen_norm(), frozen_attention():
        result = explain_input_x_gradient(model, x, target, contrast)
    result.method = "conservative"
    return result


def explain_integrated_gradients(
    model: Backbone,
    x: Tensor,
    target: Target = None,
    contrast: int | None = None,
    baseline: Baseline = "grey",
    steps: int = 50,
    progress: Progress = silent,
) -> Explanation:
    """Gradients along the straight path from a baseline (Sundararajan et al. 2017, arXiv:1703.01365). -> (B, H, W).

    Integrated at Gauss-Legendre points: with the trapezoid rule of some implementations, the values do not add up to
    the change in score. The notes report the gap that remains.
    """
    score = Scorer(model, x, target, contrast, progress)
    points, weights = (torch.from_numpy(v).to(x) for v in np.polynomial.legendre.leggauss(steps))
    shares, weights = (points + 1) / 2, weights / 2
    start = make_baseline(x, baseline)
    raw, rise = [], []
    for i in range(len(x)):
        way = x[i] - start[i]
        total = torch.zeros_like(way)
        for first in range(0, steps, at_once(x)):
            progress(i * steps + first, len(x) * steps)
            part = slice(first, first + at_once(x))
            gradient = score.gradient(start[i] + shares[part, None, None, None] * way, i)
            total += torch.einsum("n,nchw->chw", weights[part], gradient)
        raw.append((way * total).sum(0))
        with torch.inference_mode():
            rise.append(score.score[i] - score(start[i : i + 1], i).item())
    result = score.explanation(raw, "integrated_gradients", "image")
    sums = result.raw.sum((1, 2)).tolist()
    gap = max(abs(s - r) for s, r in zip(sums, rise, strict=True))
    result.notes.append(
        f"The map adds up to {sums[0]:.3g}; from baseline to image the score changes by {rise[0]:.3g}"
        + (f" (largest gap over all images {gap:.2g})." if len(x) > 1 else f" (a gap of {gap:.2g}).")
    )
    return result


def _sampled(
    score: Scorer, x: Tensor, samples: int, seed: int, progress: Progress, value: Callable[[Tensor, int, Any], Tensor]
) -> list[Tensor]:
    """Mean of `value(image, index, generator)`, for images (n, 3, H, W), over samples. -> (3, H, W) for each of x."""
    means = []
    for i in range(len(x)):
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros_like(x[i])
        for first in range(0, samples, at_once(x)):
            progress(i * samples + first, len(x) * samples)
            many = x[i].expand(min(at_once(x), samples - first), -1, -1, -1)
            total += value(many, i, generator).sum(0)
        means.append(total / samples)
    return means


def explain_smooth_grad(
    model: Backbone,
    x: Tensor,
    target: Target = None,
    contrast: int | None = None,
    samples: int = 25,
    seed: int = 0,
    progress: Progress = silent,
) -> Explanation:
    """Saliency of the mean gradient over noisy copies (Smilkov et al. 2017, arXiv:1706.03825). -> (B, H, W)."""
    score = Scorer(model, x, target, contrast, progress)

    def value(many: Tensor, i: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(many.shape, generator=generator, dtype=x.dtype).to(x.device)
        return score.gradient(many + NOISE * (x[i].max() - x[i].min()) * noise, i)

    raw = [mean.abs().amax(0) for mean in _sampled(score, x, samples, seed, progress, value)]
    return score.explanation(raw, "smooth_grad", f"image, {samples} samples", seed)


def explain_gradient_shap(
    model: Backbone,
    x: Tensor,
    target: Target = None,
    contrast: int | None = None,
    samples: int = 25,
    seed: int = 0,
    progress: Progress = silent,
) -> Explanation:
    """Integrated gradients from random plain colours, sampled (Erion et al. 2019, arXiv:1906.10670). -> (B, H, W).

    Each sample lies at a random point of the path from a random plain colour within the image's own range.
    """
    score = Scorer(model, x, target, contrast, progress)

    def value(many: Tensor, i: int, generator: torch.Generator) -> Tensor:
        low, high = x[i].amin((1, 2)), x[i].amax((1, 2))
        drawn = torch.rand(len(many), 4, generator=generator, dtype=x.dtype).to(x.device)  # a colour, and a share
        start = (low + drawn[:, :3] * (high - low))[:, :, None, None]
        share = drawn[:, 3, None, None, None]
        return (many - start) * score.gradient(start + share * (many - start), i)

    raw = [mean.sum(0) for mean in _sampled(score, x, samples, seed, progress, value)]
    return score.explanation(raw, "gradient_shap", f"image, {samples} samples", seed)


class _GuidedRelu(torch.autograd.Function):
    """ReLU whose backward passes only positive gradients at positive inputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        return gradient.clamp(min=0) * (x > 0)


class _Guided(TorchFunctionMode):
    """In this thread, while open, replace PyTorch's ReLU by the guided one. The model itself is not changed."""

    RELU = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
    OTHER = (F.gelu, F.silu, F.softmax, torch.sigmoid, Tensor.sigmoid, F.hardtanh, F.hardswish, torch.tanh)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.RELU:
            return _GuidedRelu.apply(args[0])
        if func in self.OTHER:
            raise ExplanationError(f"Guided backprop is defined for ReLU alone, and this model uses {func.__name__}.")
        return func(*args, **(kwargs or {}))


def explain_guided_backprop(
    model: Backbone, x: Tensor, target: Target = None, contrast: int | None = None
) -> Explanation:
    """Gradient restricted to positive evidence (Springenberg et al. 2014, arXiv:1412.6806). -> (B, H, W).

    It shows much the same edges for any class, and for random weights (Adebayo et al. 2018, arXiv:1810.03292).
    """
    score = Scorer(model, x, target, contrast)
    with _Guided():
        raw = [score.gradient(x[i : i + 1], i)[0].sum(0) for i in range(len(x))]
    result = score.explanation(raw, "guided_backprop", "image")
    result.notes.append("Guided backprop shows edges whatever the weights are: use it for comparison, do not trust it.")
    return result
