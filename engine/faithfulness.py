"""Evaluate the faithfulness of a method's maps on photos, compared with maps that know nothing about the model."""

import math

import explain
from engine.jobs import EngineError, Evaluation, Request
from engine.look import NOT_FINITE, Frame, batch, options
from engine.search import recipe
from explain import Progress, faithfulness
from zoo.base import Backbone


def evaluate(model: Backbone, request: Request, frames: list[Frame], progress: Progress = explain.silent) -> Evaluation:
    """Measure the maps of the chosen method. Raises EngineError or explain.ExplanationError."""
    asked = options(request, recipe(request.model), frames)
    found = faithfulness.evaluate(model, batch(frames, model), request.method, progress, **asked)
    if not math.isfinite(found.figures[found.method].insertion.mean):
        raise EngineError(NOT_FINITE)
    return found
