"""One door to every method: what can be asked of a model, what it costs, and the asking."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from explain.attention import explain_attention, explain_rollout
from explain.cam import explain_cam
from explain.features import explain_pca
from explain.result import Explanation as Explanation, ExplanationError as ExplanationError
from zoo.base import Backbone


@dataclass(frozen=True)
class Method:
    """A way to make a map, and what it takes."""

    key: str
    title: str
    by_class: bool  # depends on a class
    cost: str  # in forward passes
    run: Callable[..., Explanation]
    obstacle: Callable[[Backbone], str | None]  # why it cannot be had from a model; None: it can


@dataclass(frozen=True)
class Availability:
    """Whether a model allows a method; if not, `reason` is a sentence."""

    method: Method
    ok: bool
    reason: str | None


def needs_classes(model: Backbone) -> str | None:
    return (
        None
        if model.num_classes
        else "This checkpoint has no classes: it gives features, so no score can be explained."
    )


def needs_attention(model: Backbone) -> str | None:
    return model.no_attention and f"There is no attention to show: {model.no_attention}."


METHODS = {
    method.key: method
    for method in (
        Method("grad_cam", "Grad-CAM", True, "about 1.1", partial(explain_cam, method="grad_cam"), needs_classes),
        Method("hires_cam", "HiResCAM", True, "about 1.1", partial(explain_cam, method="hires_cam"), needs_classes),
        Method("rollout", "Attention rollout", False, "about 1.1", explain_rollout, needs_attention),
        Method("attention", "Attention", False, "about 2", explain_attention, needs_attention),
        Method("pca", "Patch features (PCA)", False, "about 1.1", explain_pca, lambda model: None),
    )
}


def available(model: Backbone) -> list[Availability]:
    """Say of every method whether this model allows it, and if not, why."""
    found = [(method, method.obstacle(model)) for method in METHODS.values()]
    return [Availability(method, reason is None, reason) for method, reason in found]


def explain(model: Backbone, x: Tensor, method: str, **options: Any) -> Explanation:
    """Make maps for pictures x (B, 3, H, W) as `zoo.preprocess` gives them. See each method's function for its options.

    Class methods take `target` (one class, one a picture, or None for each first guess), `contrast` (explain the
    target against this class) and `tap`; attention takes `layer`, `head` and `query`. Raises ExplanationError with a
    sentence where the model does not allow the method. Leaves the model as it was.
    """
    if method not in METHODS:
        raise ExplanationError(f"There is no method {method!r}; there are {', '.join(METHODS)}.")
    if reason := METHODS[method].obstacle(model):
        raise ExplanationError(reason)
    start = time.perf_counter()
    result = METHODS[method].run(model, x, **options)
    result.seconds = time.perf_counter() - start
    return result
