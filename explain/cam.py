"""Class activation maps: activations at a tap, weighted by the gradient of a class score.

    A, G: activation and gradient (B, C, h, w) -> map (B, h, w), signed

Each function is a paper's formula and nothing else; `explain_cam` runs the model for them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from explain.result import Explanation, ExplanationError
from zoo.base import Backbone
from zoo.probe import frozen_norm, probe


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight each channel by its mean gradient (Selvaraju et al. 2016, arXiv:1610.02391)."""
    return (activation * gradient.mean((2, 3), keepdim=True)).sum(1)


def hires_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight each place by its own gradient (Draelos and Carin 2020, arXiv:2011.08891)."""
    return (activation * gradient).sum(1)


FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"grad_cam": grad_cam, "hires_cam": hires_cam}


def scores(logits: Tensor, target: list[int], contrast: int | None) -> Tensor:
    """Logit of each picture's target, less the contrast's. (B, classes) -> (B,)."""
    rows = torch.arange(len(logits))
    score = logits[rows, target]
    return score if contrast is None else score - logits[rows, contrast]


def pick_targets(logits: Tensor, target: int | list[int] | None) -> list[int]:
    """One class a picture: the first guess where none is given, the same for all where one is."""
    if target is None:
        return logits.argmax(1).tolist()
    targets = [target] * len(logits) if isinstance(target, int) else list(target)
    if len(targets) != len(logits):
        raise ExplanationError(f"{len(targets)} classes were given for {len(logits)} pictures: give one for each.")
    if not all(0 <= t < logits.shape[1] for t in targets):
        raise ExplanationError(f"This model has classes 0 to {logits.shape[1] - 1}; {targets} is outside.")
    return targets


def explain_cam(
    model: Backbone,
    x: Tensor,
    method: str,
    target: int | list[int] | None = None,
    contrast: int | None = None,
    tap: str = "cam",
) -> Explanation:
    """Run one forward and the backward from the score to the tap. x (B, 3, H, W) -> maps (B, h, w).

    In front of a head of mean -> norm -> fc, the gradient takes the norm's deviation as fixed: otherwise every class's
    map would sum to zero.
    """
    with torch.enable_grad(), probe(taps={tap}, gradient=True) as seen:
        if model.readout == "mean_norm":
            with frozen_norm():
                logits = model(x)
        else:
            logits = model(x)
    if tap not in seen.taps:
        raise ExplanationError(f"This model has no layer called {tap!r} to look at.")
    targets = pick_targets(logits, target)
    score = scores(logits, targets, contrast)
    place = seen.taps[tap]
    (gradient,) = torch.autograd.grad(score.sum(), place.value)
    a, g = place.as_map().detach(), place.as_map(gradient)
    raw = FORMULAS[method](a, g)
    result = Explanation(raw.cpu(), method, tap, targets, contrast, score.detach().float().tolist())
    result.warn_if_empty((a.abs().mean() * g.abs().mean() * a.shape[1]).item())
    return result
