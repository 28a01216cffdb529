"""Class activation maps: activations at a tap, weighted by their effect on a class score.

    A, G: activation and gradient (B, C, h, w) -> map (B, h, w), signed

Each formula is exactly its paper's; `explain_cam` runs the model for them. With a `contrast`, the score is the target's
logit minus the contrast's, so the map explains why the model prefers one class to the other.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from explain.result import Explanation, ExplanationError
from explain.steps import Progress, at_once, silent
from explain.taps import find_tap
from zoo.base import Backbone
from zoo.probe import frozen_norm, probe

AVERAGED = "mean", "norm_mean", "mean_norm"  # readouts that have the same gradient at every place of the tap "cam"
HARDLY_BY_CLASS = "layer_cam", "grad_cam_plus_plus"  # there
LIKE_OTHER_CLASSES = (
    "The head of this model averages all places. There this method leaves out what is evidence against the class, so "
    "its maps of different classes are much alike: Grad-CAM tells classes apart better."
)
UNCENTRED = (
    "Eigen-CAM takes the activations as they are, as its paper does; programs that subtract their mean draw other maps."
)


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight each channel by its mean gradient (Selvaraju et al. 2016, arXiv:1610.02391)."""
    return (activation * gradient.mean((2, 3), keepdim=True)).sum(1)


def hires_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight each place by its own gradient (Draelos and Carin 2020, arXiv:2011.08891)."""
    return (activation * gradient).sum(1)


def layer_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight each place by its own gradient where that is positive (Jiang et al. 2021, TIP 30, equation 6)."""
    return (activation * gradient.clamp(min=0)).sum(1)


def xgrad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight each channel by its gradient, averaged by activation (Fu et al. 2020, arXiv:2008.02312)."""
    total = activation.sum((2, 3), keepdim=True)
    weight = (activation * gradient).sum((2, 3), keepdim=True) / _nonzero(total)
    return (activation * weight).sum(1)


def grad_cam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight each channel by its positive gradients, each times its share (Chattopadhay et al. 2017, arXiv:1710.11063).

    Computed for the exponential of the score, whose derivatives are powers of the gradient; the exponential itself only
    scales the map and is left out.
    """
    square = gradient.square()
    total = activation.sum((2, 3), keepdim=True)
    share = square / _nonzero(2 * square + total * square * gradient)
    weight = (share * gradient.clamp(min=0)).sum((2, 3), keepdim=True)
    return (activation * weight).sum(1)


def eigen_cam(activation: Tensor) -> Tensor:
    """Project each place on the direction that holds most of the activation (Muhammad and Yeasin 2020, 2008.00299).

    It does not depend on a class. The sign of the direction is arbitrary: it is chosen to make the map's sum positive.
    """
    places = activation.flatten(2).transpose(1, 2)  # (B, N, C)
    _, _, directions = torch.linalg.svd(places, full_matrices=False)
    projected = places @ directions[:, 0, :, None]  # (B, N, 1)
    signed = projected * projected.sum(1, keepdim=True).sign()
    return signed.squeeze(2).unflatten(1, activation.shape[2:])


def _nonzero(x: Tensor) -> Tensor:
    """Replace 0 by 1: where x is 0, the numerator is 0 too."""
    return torch.where(x == 0, torch.ones_like(x), x)


FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad_cam": grad_cam,
    "hires_cam": hires_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "layer_cam": layer_cam,
    "xgrad_cam": xgrad_cam,
}


def scores(logits: Tensor, target: list[int], contrast: int | None) -> Tensor:
    """Logit of each image's target, minus the contrast's. (B, classes) -> (B,)."""
    rows = torch.arange(len(logits))
    score = logits[rows, target]
    return score if contrast is None else score - logits[rows, contrast]


def pick_targets(logits: Tensor, target: int | list[int] | None) -> list[int]:
    """One class per image: its first guess if none is given; a single one is used for all."""
    if target is None:
        return logits.argmax(1).tolist()
    targets = [target] * len(logits) if isinstance(target, int) else list(target)
    if len(targets) != len(logits):
        raise ExplanationError(f"{len(targets)} classes were given for {len(logits)} images: give one class per image.")
    if not all(0 <= t < logits.shape[1] for t in targets):
        raise ExplanationError(f"This model has classes 0 to {logits.shape[1] - 1}; {targets} is outside that range.")
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

    If the head is mean -> norm -> fc, the norm's deviation is held fixed in the gradient: otherwise the map of every
    class would sum to zero.
    """
    with torch.enable_grad(), probe(model, x, taps={tap}, gradient=True) as seen:
        if model.readout == "mean_norm":
            with frozen_norm():
                logits = model(x)
        else:
            logits = model(x)
    place = find_tap(seen.taps, tap)
    targets = pick_targets(logits, target)
    score = scores(logits, targets, contrast)
    (gradient,) = torch.autograd.grad(score.sum(), place.value)
    a, g = place.as_map().detach(), place.as_map(gradient)
    raw = FORMULAS[method](a, g)
    figures = score.detach().float().tolist()
    result = Explanation(raw.cpu(), method, tap, targets, contrast, figures, cells=place.cells)
    result.warn_if_empty((a.abs().mean() * g.abs().mean() * a.shape[1]).item())
    if method in HARDLY_BY_CLASS and tap == "cam" and model.readout in AVERAGED:
        result.notes.append(LIKE_OTHER_CLASSES)
    return result


explain_grad_cam = partial(explain_cam, method="grad_cam")
explain_hires_cam = partial(explain_cam, method="hires_cam")
explain_grad_cam_plus_plus = partial(explain_cam, method="grad_cam_plus_plus")
explain_layer_cam = partial(explain_cam, method="layer_cam")
explain_xgrad_cam = partial(explain_cam, method="xgrad_cam")


@torch.inference_mode()
def explain_eigen_cam(model: Backbone, x: Tensor, tap: str = "cam") -> Explanation:
    """Run one forward and decompose the activation at the tap. x (B, 3, H, W) -> maps (B, h, w)."""
    with probe(model, x, taps={tap}) as seen:
        model(x)
    place = find_tap(seen.taps, tap)
    a = place.as_map()
    result = Explanation(eigen_cam(a).cpu(), "eigen_cam", tap, cells=place.cells)
    result.warn_if_empty(a.abs().mean().item())
    result.notes.append(UNCENTRED)
    return result


@torch.inference_mode()
def explain_score_cam(
    model: Backbone,
    x: Tensor,
    target: int | list[int] | None = None,
    contrast: int | None = None,
    tap: str = "cam",
    progress: Progress = silent,
) -> Explanation:
    """Weight each channel by the score of the image masked by it (Wang et al. 2019, arXiv:1910.01279).

    x (B, 3, H, W) -> maps (B, h, w). It needs no gradient, but one forward per channel of the tap.
    """
    logits, places = [], []
    for part in x.split(at_once(x)):
        progress(0, 0)
        with probe(model, part, taps={tap}) as seen:
            logits.append(model(part))
        places.append(find_tap(seen.taps, tap))
    a = torch.cat([place.as_map() for place in places])
    targets = pick_targets(torch.cat(logits), target)
    maps = []
    for i, (image, channels) in enumerate(zip(x, a, strict=True)):
        found = []
        for part in channels.split(at_once(x)):
            progress(i * len(channels) + sum(map(len, found)), a.shape[0] * a.shape[1])
            large = F.interpolate(part[:, None], x.shape[2:], mode="bilinear")  # (n, 1, H, W)
            low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
            masks = (large - low) / _nonzero(high - low)  # from 0 to 1, only now: enlarging lowers the peaks
            found.append(scores(model(image * masks), [targets[i]] * len(masks), contrast))
        weight = torch.cat(found).softmax(0)
        maps.append((weight[:, None, None] * channels).sum(0))
    score = scores(torch.cat(logits), targets, contrast).float().tolist()
    result = Explanation(torch.stack(maps).cpu(), "score_cam", tap, targets, contrast, score, cells=places[0].cells)
    result.warn_if_empty(a.abs().mean().item())
    return result


@torch.inference_mode()
def explain_patch_logits(
    model: Backbone, x: Tensor, target: int | list[int] | None = None, contrast: int | None = None
) -> Explanation:
    """Read the logits that the head gives each patch, a part of its answer. x (B, 3, H, W) -> maps (B, h, w).

    Trained by token labelling (Jiang et al. 2021, arXiv:2104.10858), they are a class map that needs no gradient.
    """
    with probe(model, x, taps={"patches"}) as seen:
        logits = model(x)
    place = find_tap(seen.taps, "patches")
    targets = pick_targets(logits, target)
    maps = place.as_map(model.patch_logits(place.value))  # (B, classes, h, w)
    figures = scores(logits, targets, contrast).float().tolist()
    raw = scores(maps, targets, contrast)
    return Explanation(raw.cpu(), "patch_logits", "patches", targets, contrast, figures, cells=place.cells)
