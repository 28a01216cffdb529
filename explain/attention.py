"""Attention as maps over the picture: one layer and head, or all layers rolled out.

Neither depends on a class: they show what was read, not what it was read for. All geometry comes from the records
(zoo/probe.py), so windows, shifts, pooled keys and prefix tokens need no code of their own here.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from explain.result import Explanation, ExplanationError
from explain.sinks import tell_of_no_place, tell_of_sinks
from explain.taps import cell_at
from zoo.base import Backbone
from zoo.probe import STAGES, AttentionRecord, Grid, probe


def readout_mass(model: Backbone, grid: Grid, batch: int) -> Tensor:
    """Where the head reads: on its class tokens, or evenly on all patches. -> (B, N), each row sums to 1."""
    mass = torch.zeros(batch, grid.tokens)
    by_token = model.readout == "token" and grid.prefix  # a class token may enter behind the patches' own layers
    if grid.tokens == grid.prefix:  # nothing but a learned query
        mass[:] = 1.0
    else:
        mass[:, slice(0, model.read_tokens) if by_token else slice(grid.prefix, None)] = 1.0
    return mass / mass.sum(1, keepdim=True)


def spread(mass: Tensor, old: Grid, new: Grid) -> Tensor:
    """Carry mass from a grid to the finer one that it was merged from: each cell gives evenly to the cells under it.

    (B, N) -> (B, N'). Prefix tokens go along one by one; where the finer grid has none, they have no place to go.
    """
    if old == new:
        return mass
    rows = torch.arange(new.height) * old.height // new.height
    cols = torch.arange(new.width) * old.width // new.width
    cell = (rows[:, None] * old.width + cols).flatten()
    below = torch.bincount(cell, minlength=old.height * old.width)
    patches = (mass[:, old.prefix :] / below.clamp(min=1))[:, cell]
    prefix = mass.new_zeros(len(mass), new.prefix)
    shared = min(old.prefix, new.prefix)
    prefix[:, :shared] = mass[:, :shared]
    return torch.cat([prefix, patches], 1)


def as_map(mass: Tensor, grid: Grid) -> Tensor:
    """Drop the prefix tokens. (B, N) -> (B, h, w)."""
    return mass[:, grid.prefix :].unflatten(1, grid.shape)


def token_records(records: list[AttentionRecord]) -> list[AttentionRecord]:
    """Keep what attends between places; refuse, in words, a model that has none."""
    kept = [record for record in records if record.kind == "token"]
    if not kept:
        raise ExplanationError("This model has no attention between places of the picture.")
    return kept


def walk(
    model: Backbone, records: list[AttentionRecord], mass: Tensor, join: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Grid]:
    """Carry what the head reads, (B, N) at the last layer, back through all layers. -> (B, N) on the first one's keys.

    `join` says what a layer makes of the mass that its shortcut keeps and of the mass that its attention reads. This is
    the dense product of matrices, walked from the end: one vector in place of N x N. A class token that enters late
    keeps what it has from there on, and is counted in the grid.
    """
    grid, waiting = records[-1].geometry.q_grid, mass[:, :0]
    for record in reversed(records):
        geometry = record.geometry
        if geometry.q_grid.tokens == 1:  # one token reads the others, which stay as they are
            own, others = mass[:, :1], mass[:, 1:]
            read = record.pullback(own)
            if model.readout == "token":  # a class token; a learned query keeps nothing of its own
                places = read.shape[1] - 1
                read = join(F.pad(own, (0, places)), read) + F.pad(others, (1, places - others.shape[1]))
            mass, grid = read, geometry.k_grid
            continue
        waiting = torch.cat([mass[:, geometry.q_grid.prefix : grid.prefix], waiting], 1)
        mass = spread(mass, grid, geometry.q_grid)
        read = spread(record.pullback(mass), geometry.k_grid, geometry.q_grid)
        mass, grid = join(mass, read), geometry.q_grid
    prefix = grid.prefix + waiting.shape[1]
    return torch.cat([mass[:, : grid.prefix], waiting, mass[:, grid.prefix :]], 1), grid._replace(prefix=prefix)


def explain_rollout(model: Backbone, x: Tensor) -> Explanation:
    """Follow what the head reads back through all layers, as shares. x (B, 3, H, W) -> maps (B, h, w).

    Each layer passes half along its shortcut and half along its attention, the mean of its heads (Abnar and Zuidema
    2020, arXiv:2005.00928).
    """
    unlike = False

    def head_mean(layer: int, weights: Tensor) -> Tensor:
        nonlocal unlike
        rows = weights.abs().sum(-1, keepdim=True)
        if (rows - 1).abs().max() > 1e-3 or weights.min() < 0:  # not a softmax's: heads were mixed, or subtracted
            unlike, weights = True, weights.abs() / rows
        return weights.mean(1, keepdim=True).cpu()

    with torch.inference_mode(), probe(attention=head_mean) as seen:
        model(x)
        records = token_records(seen.attention)
        start = readout_mass(model, records[-1].geometry.q_grid, len(x)).to(records[-1].weights.dtype)
        mass, grid = walk(model, records, start, lambda stayed, read: (stayed + read) / 2)
    result = Explanation(as_map(mass, grid), "rollout", f"{len(records)} attention layers")
    if unlike:
        result.notes.append("This model's attention is no plain share: sizes are followed, each row scaled to one.")
    result.notes += tell_of_no_place(model, mass, grid)
    result.warn_if_even()
    return result


def explain_attention(
    model: Backbone,
    x: Tensor,
    layer: int = -1,
    head: int | None = None,
    query: tuple[float, float] | None = None,
) -> Explanation:
    """What one layer reads: by one head or the mean of all, for one query. x (B, 3, H, W) -> maps (B, h, w).

    `query` is a place in the picture, (down, across) from 0 to 1, and its patch asks; without it, what the head of the
    model reads asks: the class token, or all patches evenly.
    """
    with torch.inference_mode(), probe(attention=lambda i, w: w.mean((0, 2, 3))) as seen:
        model(x[:1])
    kinds = [record.kind for record in seen.attention]
    wanted = _choose([i for i, kind in enumerate(kinds) if kind == "token"], layer)
    features: list[Tensor] = []  # of the keys: what the stage in front of the layer gave, if one ends there

    def keep(i: int, weights: Tensor) -> Tensor:
        if i == wanted:
            features.extend(tap.as_map() for tap in seen.taps.values())
        seen.taps.clear()
        return weights.cpu() if i == wanted else weights[:, :0]

    with torch.inference_mode(), probe(taps=STAGES, attention=keep) as seen:
        model(x)
        record = seen.attention[wanted]
        mass = record.pullback(_asking(model, record, len(x), head, query), head)
    raw = as_map(mass, record.geometry.k_grid)
    source = next((name for name, module in model.named_modules() if module is record.layer), f"layer {wanted}")
    result = Explanation(raw, "attention", source if head is None else f"{source}, head {head}", query=query)
    result.notes += tell_of_no_place(model, mass, record.geometry.k_grid)
    if features and features[-1].shape[2:] == raw.shape[1:]:
        result.notes += tell_of_sinks(raw, features[-1].cpu())
    result.warn_if_even()
    return result


def _asking(
    model: Backbone, record: AttentionRecord, batch: int, head: int | None, query: tuple[float, float] | None
) -> Tensor:
    """Put the mass on those queries of a layer that ask. -> (B, Nq)."""
    heads = record.weights.shape[1]
    if head is not None and not 0 <= head < heads:
        raise ExplanationError(f"This layer has heads 0 to {heads - 1}; {head} is outside.")
    grid = record.geometry.q_grid
    mass = readout_mass(model, grid, batch).to(record.weights.dtype)
    if query is not None and grid.tokens > grid.prefix:
        row, col = cell_at(grid.shape, query)
        mass = torch.zeros_like(mass)
        mass[:, grid.prefix + row * grid.width + col] = 1.0
    return mass


def _choose(layers: list[int], layer: int) -> int:
    if not layers:
        raise ExplanationError("This model has no attention between places of the picture.")
    if not -len(layers) <= layer < len(layers):
        raise ExplanationError(f"This model has attention layers 0 to {len(layers) - 1}; {layer} is outside.")
    return layers[layer]
