"""Attention weighted by its effect on a class score: Chefer's rule and LeGrad.

Both take the gradient of the class score with respect to every attention matrix. All geometry comes from the records
(zoo/probe.py), as in explain/attention.py.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from explain.attention import as_map, position_records, readout_mass, walk
from explain.cam import pick_targets, scores
from explain.result import Explanation, ExplanationError
from zoo.base import Backbone
from zoo.cells import Cells
from zoo.memory import available_memory
from zoo.probe import STAGES, AttentionRecord, Probe, probe


class _Budget:
    """Keep every head of every layer; raise ExplanationError when memory would run out."""

    def __init__(self) -> None:
        free = available_memory()
        self.left = float("inf") if free is None else free / 3  # the graph holds about as much again, twice

    def __call__(self, layer: int, weights: Tensor) -> Tensor:
        self.left -= weights.numel() * weights.element_size()
        if self.left < 0:
            raise ExplanationError(
                "The attention of all layers and heads does not fit into memory: "
                "choose a smaller image or model, or attention rollout, which keeps less."
            )
        return weights


def _look(model: Backbone, x: Tensor, taps: Sequence[str]) -> tuple[Tensor, Probe]:
    with torch.enable_grad(), probe(model, x, taps=taps, attention=_Budget(), gradient=True) as seen:
        return model(x), seen


def _differentiable(records: list[AttentionRecord], score: Tensor) -> list[Tensor]:
    gradients = torch.autograd.grad(score.sum(), [record.weights for record in records], allow_unused=True)
    return [torch.zeros_like(r.weights) if g is None else g for r, g in zip(records, gradients, strict=True)]


def explain_chefer(
    model: Backbone, x: Tensor, target: int | list[int] | None = None, contrast: int | None = None
) -> Explanation:
    """Trace what the head reads back through attention times its positive gradient. x (B, 3, H, W) -> (B, h, w).

    Each layer adds what its heads contributed to the class: r + r A' with A' = mean over heads of
    (gradient x attention)+. Chefer et al. 2021, "Generic Attention-model Explainability", arXiv:2103.15679, for
    self-attention; computed from the end, as rollout is.
    """
    logits, seen = _look(model, x, [])
    records = position_records(seen.attention)
    targets = pick_targets(logits, target)
    score = scores(logits, targets, contrast)
    relevance = [
        replace(record, weights=(gradient * record.weights.detach()).clamp(min=0).mean(1, keepdim=True).cpu())
        for record, gradient in zip(records, _differentiable(records, score), strict=True)
    ]
    last = records[-1].between_positions.q_grid
    start = readout_mass(model, last, len(x)).to(relevance[-1].weights.dtype)
    mass, grid, cells = walk(relevance, start, lambda stayed, read: stayed + read)
    if last.height:  # the even reading does not depend on the class: it is carried the same way and subtracted
        mass = mass - walk(relevance, start, lambda stayed, read: stayed)[0]
    raw = as_map(mass, grid)
    return _explanation(raw, "chefer", f"{len(records)} attention layers", targets, contrast, score, cells)


def explain_legrad(
    model: Backbone, x: Tensor, target: int | list[int] | None = None, contrast: int | None = None
) -> Explanation:
    """Read every layer by the model's own head, and find which attention would raise the score. -> (B, h, w).

    The positive gradient of each layer's score with respect to its attention, averaged over heads, queries and layers;
    if a learned query reads the tokens, only that layer is used. Bousselham et al. 2024, arXiv:2404.03214.
    """
    logits, seen = _look(model, x, STAGES)
    records = position_records(seen.attention)
    targets = pick_targets(logits, target)
    score = scores(logits, targets, contrast)
    stages = [stage for stage in seen.taps.values() if stage.layout == "NLC"]  # not the convolutional ones
    if model.readout == "attention_pool":
        pairs = [(records[-1], score)]
    else:
        pairs = []
        for i, record in enumerate(seen.attention):
            if record.geometry is not None:  # the layer that it is part of ends at the next tap
                stage = next(stage for stage in stages if stage.attentions > i)
                pairs.append((record, scores(model.read(stage.value, record.geometry.q_grid), targets, contrast)))
    maps = []
    for record, layer_score in pairs:
        (gradient,) = torch.autograd.grad(layer_score.sum(), record.weights, retain_graph=True)
        positive = replace(record, weights=gradient.clamp(min=0).mean(1, keepdim=True).cpu())
        geometry = record.between_positions
        asks = geometry.asks.to(positive.weights)
        maps.append(as_map(positive.pullback((asks / asks.sum()).expand(len(x), -1)), geometry.k_grid))
    raw, cells = torch.stack(maps).mean(0), records[-1].cells
    return _explanation(raw, "legrad", f"{len(pairs)} attention layers", targets, contrast, score, cells)


def _explanation(
    raw: Tensor,
    method: str,
    source: str,
    targets: list[int],
    contrast: int | None,
    score: Tensor,
    cells: Cells | None,
) -> Explanation:
    result = Explanation(raw, method, source, targets, contrast, score.detach().float().tolist(), cells=cells)
    result.warn_if_empty(torch.finfo(raw.dtype).tiny)
    return result
