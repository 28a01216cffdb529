"""Every method through one call: which methods a model allows, what each costs, and `explain` to run one.

The table of methods is there without torch: a method's module is imported when it is first run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

import zoo
from explain.result import Explanation, ExplanationError

if TYPE_CHECKING:
    from torch import Tensor

    from zoo import Backbone

Obstacle = Callable[["Backbone"], "str | None"]


@dataclass(frozen=True)
class Method:
    """A way to make a map, and what it requires."""

    key: str
    title: str
    group: str  # one of GROUPS
    shows: str  # what a person sees in the map, in one line
    by_class: bool  # the map depends on a class
    cost: str  # in forward passes, in words
    module: str  # of this package, whose function explain_KEY runs it
    obstacle: Obstacle  # why a model does not allow it; None if it does
    slow: bool = False  # takes many forwards, so `run` reports its `progress`

    @property
    def run(self) -> Callable[..., Explanation]:
        """Its function: a model and images (B, 3, H, W) -> maps."""
        return getattr(import_module(f"explain.{self.module}"), f"explain_{self.key}")

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
    return needs_classes_and_attention(model) or (unlike if type(model).read is zoo.Backbone.read else None)


def needs_patch_logits(model: Backbone) -> str | None:
    none = "The head of this model reads all patches at once, so no patch has logits of its own."
    return needs_classes(model) or (none if type(model).patch_logits is zoo.Backbone.patch_logits else None)


def needs_relu(model: Backbone) -> str | None:
    """Guided backprop is a rule for ReLU: no attention, no gates, no other activation."""
    homes = "torch.nn.modules.activation", "zoo.layers.act"  # every activation in the zoo but ReLU is a module
    other = {type(m).__name__ for m in model.modules() if type(m).__module__ in homes} - {"ReLU"}
    if model.no_attention is None:
        other.add("attention")
    reason = f"Guided backprop is defined for ReLU alone; this model has {', '.join(sorted(other))}."
    return needs_classes(model) or (reason if other else None)


GROUPS = "Class maps", "Attention", "Pixels", "Perturbation", "Features"
ONE, THREE = "about 1.1 forwards", "about 3 forwards"


def cam(key: str, title: str, shows: str) -> Method:
    return Method(key, title, "Class maps", shows, True, ONE, "cam", needs_classes)


def reading(
    key: str, title: str, shows: str, cost: str, module: str, obstacle: Obstacle, by_class: bool = True
) -> Method:
    return Method(key, title, "Attention", shows, by_class, cost, module, obstacle)


def pixels(key: str, title: str, shows: str, obstacle: Obstacle = needs_classes) -> Method:
    return Method(key, title, "Pixels", shows, True, THREE, "pixels", obstacle)


def slow(key: str, title: str, group: str, shows: str, cost: str, module: str) -> Method:
    return Method(key, title, group, shows, True, cost, module, needs_classes, slow=True)


def features(key: str, title: str, shows: str, cost: str, module: str = "features") -> Method:
    return Method(key, title, "Features", shows, False, cost, module, always)


METHODS = {
    method.key: method
    for method in (
        cam("grad_cam", "Grad-CAM", "Which regions raised the score of the class"),
        cam("hires_cam", "HiResCAM", "The same, weighted place by place: it differs where the head reads places apart"),
        cam("grad_cam_plus_plus", "Grad-CAM++", "Regions with features that raise the score, small ones included"),
        cam("layer_cam", "LayerCAM", "Places with features that raise the score there; finer at early layers"),
        cam("xgrad_cam", "XGrad-CAM", "Regions as in Grad-CAM, each feature weighted where it is strong"),
        Method("patch_logits", "Logits of each patch", "Class maps",
               "The class's score that the head itself gives each patch, as it was trained to", True, ONE,
               "cam", needs_patch_logits),
        slow("score_cam", "Score-CAM", "Class maps", "Regions whose features alone keep the score up; no gradients",
             "a forward a channel", "cam"),
        reading("attention", "Attention", "What one layer read to make its output, whatever the class",
                "about 2 forwards", "attention", needs_attention, by_class=False),
        reading("rollout", "Attention rollout", "What all layers together read, from the head back to the image",
                ONE, "attention", needs_rollout, by_class=False),
        reading("chefer", "Chefer's relevance", "What all layers read in favour of the class",
                THREE, "relevance", needs_classes_and_rollout),
        reading("legrad", "LeGrad", "Where more attention, in any layer, would raise the score of the class",
                THREE, "relevance", needs_equal_layers),
        pixels("saliency", "Saliency", "Pixels whose slightest change moves the score most"),
        pixels("conservative", "Conservative relevance", "Each pixel's part in the score, with attention held fixed",
               needs_classes_and_attention),
        pixels("input_x_gradient", "Input x gradient", "Each pixel's part in the score, if the model were linear"),
        slow("integrated_gradients", "Integrated gradients", "Pixels",
             "What each pixel added to the score on the way from plain grey", "about 100 forwards",
             "pixels"),
        slow("smooth_grad", "SmoothGrad", "Pixels", "Saliency, averaged over noisy copies of the photo",
             "about 50 forwards", "pixels"),
        slow("gradient_shap", "Gradient SHAP", "Pixels", "What each pixel added, on the way from many plain colours",
             "about 50 forwards", "pixels"),
        pixels("guided_backprop", "Guided backprop", "Edges, whatever the weights: for comparison only",
               needs_relu),
        slow("occlusion", "Occlusion", "Perturbation", "How far the score drops when a grey window hides a place",
             "about 180 forwards", "perturbation"),
        slow("ablation", "Ablation of a grid", "Perturbation", "How far the score drops without each cell of a grid",
             "197 forwards", "perturbation"),
        features("eigen_cam", "Eigen-CAM", "Where the strongest pattern of the features is, whatever the class",
                 ONE, "cam"),
        features("pca", "Patch features (PCA)", "Places with like features in like colours", ONE),
        features("similarity", "Patches alike (cosine)", "Places with features like those of the place that you click",
                 "about 1 forward"),
        features("influence", "Effective receptive field", "Pixels that the features of the place you click depend on",
                 THREE),
    )
}  # fmt: skip


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
