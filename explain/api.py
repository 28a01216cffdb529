"""Every method through one call: which methods a model allows, what each costs, and `explain` to run one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

from torch import Tensor

from explain.attention import explain_attention, explain_rollout
from explain.cam import explain_cam, explain_eigen_cam, explain_score_cam
from explain.features import explain_influence, explain_pca, explain_similarity
from explain.perturbation import explain_ablation, explain_occlusion
from explain.pixels import (
    explain_conservative,
    explain_gradient_shap,
    explain_guided_backprop,
    explain_input_x_gradient,
    explain_integrated_gradients,
    explain_saliency,
    explain_smooth_grad,
)
from explain.relevance import explain_chefer, explain_legrad
from explain.result import (
    Explanation as Explanation,
    ExplanationError as ExplanationError,
    Progress as Progress,
    silent as silent,
)
from zoo.base import Backbone

Obstacle = Callable[[Backbone], str | None]


@dataclass(frozen=True)
class Method:
    """A way to make a map, and what it requires."""

    key: str
    title: str
    by_class: bool  # the map depends on a class
    cost: str  # in forward passes, in words
    run: Callable[..., Explanation]
    obstacle: Obstacle  # why a model does not allow it; None if it does
    slow: bool = False  # takes many forwards, so `run` reports its `progress`

    def takes(self, option: str) -> bool:
        """Whether `explain` accepts this option for this method."""
        return option in signature(self.run).parameters


@dataclass(frozen=True)
class Availability:
    """Whether a model allows a method; if not, `reason` says why in one sentence."""

    method: Method
    ok: bool
    reason: str | None


def needs_classes(model: Backbone) -> str | None:
    return (
        None
        if model.num_classes
        else "This checkpoint has no classes: it gives features, so no score can be explained."
    )


def always(model: Backbone) -> None:
    """Every model allows the method."""


def needs_attention(model: Backbone) -> str | None:
    return model.no_attention and f"There is no attention to show: {model.no_attention}."


def needs_classes_and_attention(model: Backbone) -> str | None:
    return needs_classes(model) or needs_attention(model)


def needs_rollout(model: Backbone) -> str | None:
    return needs_attention(model) or (
        model.no_rollout and f"Attention cannot be followed through the layers of this model: {model.no_rollout}."
    )


def needs_classes_and_rollout(model: Backbone) -> str | None:
    return needs_classes(model) or needs_rollout(model)


def needs_equal_layers(model: Backbone) -> str | None:
    unlike = "Its layers are not all of the last one's shape, so the head cannot read each of them."
    return needs_classes_and_attention(model) or (unlike if type(model).read is Backbone.read else None)


def needs_relu(model: Backbone) -> str | None:
    """Guided backprop is a rule for ReLU: no attention, no gates, no other activation."""
    homes = "torch.nn.modules.activation", "zoo.layers.act"  # every activation in the zoo but ReLU is a module
    other = {type(m).__name__ for m in model.modules() if type(m).__module__ in homes} - {"ReLU"}
    if model.no_attention is None:
        other.add("attention")
    reason = f"Guided backprop is defined for ReLU alone; this model has {', '.join(sorted(other))}."
    return needs_classes(model) or (reason if other else None)


def cam(key: str, title: str) -> Method:
    return Method(key, title, True, "about 1.1 forwards", partial(explain_cam, method=key), needs_classes)


def quick(key: str, title: str, run: Callable[..., Explanation], obstacle: Obstacle = needs_classes) -> Method:
    return Method(key, title, True, "about 3 forwards", run, obstacle)


def slow(key: str, title: str, cost: str, run: Callable[..., Explanation]) -> Method:
    return Method(key, title, True, cost, run, needs_classes, slow=True)


def classless(key: str, title: str, cost: str, run: Callable[..., Explanation], obstacle: Obstacle = always) -> Method:
    return Method(key, title, False, cost, run, obstacle)


METHODS = {
    method.key: method
    for method in (
        cam("grad_cam", "Grad-CAM"),
        cam("hires_cam", "HiResCAM"),
        cam("grad_cam_plus_plus", "Grad-CAM++"),
        cam("layer_cam", "LayerCAM"),
        cam("xgrad_cam", "XGrad-CAM"),
        slow("score_cam", "Score-CAM", "a forward a channel", explain_score_cam),
        classless("eigen_cam", "Eigen-CAM", "about 1.1 forwards", explain_eigen_cam),
        classless("attention", "Attention", "about 2 forwards", explain_attention, needs_attention),
        classless("rollout", "Attention rollout", "about 1.1 forwards", explain_rollout, needs_rollout),
        quick("chefer", "Chefer's relevance", explain_chefer, needs_classes_and_rollout),
        quick("legrad", "LeGrad", explain_legrad, needs_equal_layers),
        quick("saliency", "Saliency", explain_saliency),
        quick("conservative", "Conservative relevance", explain_conservative, needs_classes_and_attention),
        quick("input_x_gradient", "Input x gradient", explain_input_x_gradient),
        slow("integrated_gradients", "Integrated gradients", "about 100 forwards", explain_integrated_gradients),
        slow("smooth_grad", "SmoothGrad", "about 50 forwards", explain_smooth_grad),
        slow("gradient_shap", "Gradient SHAP", "about 50 forwards", explain_gradient_shap),
        quick("guided_backprop", "Guided backprop", explain_guided_backprop, needs_relu),
        slow("occlusion", "Occlusion", "about 180 forwards", explain_occlusion),
        slow("ablation", "Ablation of a grid", "197 forwards", explain_ablation),
        classless("pca", "Patch features (PCA)", "about 1.1 forwards", explain_pca),
        classless("similarity", "Patches alike (cosine)", "about 1 forward", explain_similarity),
        classless("influence", "Effective receptive field", "about 3 forwards", explain_influence),
    )
}


def available(model: Backbone) -> list[Availability]:
    """For every method, tell whether this model allows it and, if not, why."""
    found = [(method, method.obstacle(model)) for method in METHODS.values()]
    return [Availability(method, reason is None, reason) for method, reason in found]


def explain(model: Backbone, x: Tensor, method: str, **options: Any) -> Explanation:
    """Make maps for images x (B, 3, H, W) as `zoo.preprocess` gives them. See each method's function for its options.

    Class methods take `target` (one class for all, a list with one per image, or None for each image's first guess),
    `contrast` (explain the target against this class) and `tap`; attention takes `layer`, `head` and `query`. Raises
    ExplanationError with a sentence if the model does not allow the method. Does not change the model.
    """
    if method not in METHODS:
        raise ExplanationError(f"There is no method {method!r}; there are {', '.join(METHODS)}.")
    if reason := METHODS[method].obstacle(model):
        raise ExplanationError(reason)
    start = time.perf_counter()
    result = METHODS[method].run(model, x, **options)
    result.seconds = time.perf_counter() - start
    return result
