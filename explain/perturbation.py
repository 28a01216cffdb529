"""How much a score drops when a part of the image is replaced by mean grey. captum does the perturbation.

Kokhlikyan et al. 2020, "Captum", arXiv:2009.07896. It needs many forwards but no gradients, so every model allows it.
"""

from collections.abc import Callable

import torch
from captum.attr import FeatureAblation, Occlusion
from torch import Tensor

from explain.pixels import Scorer, Target
from explain.result import Explanation
from explain.steps import Progress, at_once, silent
from zoo.base import Backbone


def _counted(score: Scorer, i: int, each: int, progress: Progress) -> Callable[[Tensor], Tensor]:
    """The score as a function of the perturbed image alone; it reports progress, with `each` forwards per image."""
    done = 0

    def forward(x: Tensor) -> Tensor:
        nonlocal done
        progress(i * each + min(done, each), len(score.targets) * each)
        done += len(x)
        return score(x, i)

    return forward


@torch.inference_mode()
def explain_occlusion(
    model: Backbone,
    x: Tensor,
    target: Target = None,
    contrast: int | None = None,
    window: int | None = None,
    progress: Progress = silent,
) -> Explanation:
    """Slide a grey window over the image (Zeiler and Fergus 2013, arXiv:1311.2901). x (B, 3, H, W) -> (B, H, W).

    A pixel gets the mean drop over the windows that cover it. `window` is the window's side in pixels, by default a
    seventh of the image's shorter side; the window moves by half of it.
    """
    score = Scorer(model, x, target, contrast, progress)
    side = window or max(2, min(x.shape[2:]) // 7)
    step = max(1, side // 2)
    places = 1
    for length in x.shape[2:]:
        places *= 1 + -(-max(0, length - side) // step)
    raw = []
    for i in range(len(x)):
        occlusion = Occlusion(_counted(score, i, places, progress))
        found = occlusion.attribute(x[i : i + 1], (3, side, side), (3, step, step), perturbations_per_eval=at_once(x))
        raw.append(found[0, 0])  # the same for each colour
    return score.explanation(raw, "occlusion", f"window of {side} pixels, steps of {step}")


@torch.inference_mode()
def explain_ablation(
    model: Backbone,
    x: Tensor,
    target: Target = None,
    contrast: int | None = None,
    cells: int = 14,
    progress: Progress = silent,
) -> Explanation:
    """Replace one cell of a grid at a time by mean grey. x (B, 3, H, W) -> (B, cells, cells)."""
    score = Scorer(model, x, target, contrast, progress)
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device) * cells // height
    cols = torch.arange(width, device=x.device) * cells // width
    mask = (rows[:, None] * cells + cols)[None, None]
    raw = []
    for i in range(len(x)):
        ablation = FeatureAblation(_counted(score, i, cells**2, progress))
        found = ablation.attribute(x[i : i + 1], feature_mask=mask, perturbations_per_eval=at_once(x))[0, 0]
        centres = ((2 * torch.arange(cells, device=x.device) + 1) * side // (2 * cells) for side in (height, width))
        down, across = centres
        raw.append(found[down][:, across])
    return score.explanation(raw, "ablation", f"{cells} x {cells} cells")
