"""Attention as maps over the image: one layer and head, or all layers rolled out.

Neither depends on a class: they show what the model read, not which class it was evidence for. All geometry comes
from the records (zoo/probe.py), so windows, shifts, pooled keys and queries, and prefix tokens need no code here.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from explain.result import Explanation, ExplanationError
from explain.sinks import tell_of_no_place, tell_of_sinks
from explain.taps import nearest_cell
from zoo.base import Backbone
from zoo.cells import Cells
from zoo.probe import STAGES, AttentionRecord, Grid, probe


def readout_mass(model: Backbone, grid: Grid, batch: int) -> Tensor:
    """Where the head reads: its class tokens, or all patches evenly. -> (B, N), each row sums to 1."""
    mass = torch.zeros(batch, grid.tokens, dtype=torch.float64)
    by_token = model.readout == "token" and grid.prefix  # a class token may enter after the patches' own layers
    if grid.tokens == grid.prefix:  # nothing but a learned query
        mass[:] = 1.0
    else:
        mass[:, slice(0, model.read_tokens) if by_token else slice(grid.prefix, None)] = 1.0
    return mass / mass.sum(1, keepdim=True)


def carry(mass: Tensor, old: Grid, new: Grid) -> Tensor:
    """Move mass (B, N) from one grid to another over the same image. -> (B, N').

    A cell divides its mass evenly among the finer cells that were merged into it, or gives all of it to the coarser
    cell that it was merged into. Prefix tokens are copied; the total is preserved if `new` has room for all of them.
    """
    if old == new:
        return mass
    patches = mass[:, old.prefix :].unflatten(1, old.shape)
    for axis, count in enumerate(new.shape, 1):
        patches = _carry_along(patches, axis, count)
    prefix = mass.new_zeros(len(mass), new.prefix)
    shared = min(old.prefix, new.prefix)
    prefix[:, :shared] = mass[:, :shared]
    return torch.cat([prefix, patches.flatten(1)], 1)


def _carry_along(mass: Tensor, axis: int, count: int) -> Tensor:
    had = mass.shape[axis]
    if count == had:
        return mass
    many, few = max(count, had), min(count, had)
    block = -(-many // few)  # the last block may be padded; if blocks do not nest, cells are distributed evenly
    nested = (few - 1) * block < many
    parent = torch.arange(many) // block if nested else torch.arange(many) * few // many
    if count < had:
        shape = list(mass.shape)
        shape[axis] = count
        return mass.new_zeros(shape).index_add_(axis, parent, mass)
    shares = 1 / torch.bincount(parent)[parent].double()
    return mass.index_select(axis, parent) * shares.view(-1, *[1] * (mass.ndim - 1 - axis)).to(mass)


def as_map(mass: Tensor, grid: Grid) -> Tensor:
    """Drop the prefix tokens. (B, N) -> (B, h, w)."""
    return mass[:, grid.prefix :].unflatten(1, grid.shape)


def position_records(records: list[AttentionRecord]) -> list[AttentionRecord]:
    """Keep the records of attention between positions; raise ExplanationError if there are none."""
    kept = [record for record in records if record.geometry is not None]
    if not kept:
        raise ExplanationError("This model has no attention between positions of the image.")
    return kept


def walk(
    records: list[AttentionRecord], mass: Tensor, join: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Grid, Cells | None]:
    """Propagate what the head reads, (B, N) at the last layer, back through all layers to (B, N) at the first one.

    `join` combines the mass that a layer's shortcut keeps with the mass that its attention reads. The result equals the
    dense product of matrices, but is computed from the end, with one vector in place of N x N. The two masses are added
    on the finer of the query and the key grid. Tokens that make no query keep their mass; so does a class token in the
    layers before it enters, and the returned grid counts it.
    """
    grid, waiting = records[-1].between_positions.q_grid, mass[:, :0]
    for record in reversed(records):
        geometry = record.between_positions
        queries, keys = geometry.q_grid, geometry.k_grid
        if not queries.height:  # learned queries are not among the tokens, so all of their mass is read
            mass, grid = record.pullback(mass), keys
            continue
        waiting = torch.cat([mass[:, queries.prefix : grid.prefix], waiting], 1)
        mass = carry(mass, grid, queries)
        asking = mass * geometry.asks.to(mass)
        grid = Grid(*map(max, queries, keys))
        read, kept = carry(record.pullback(asking), keys, grid), carry(mass - asking, queries, grid)
        mass = join(carry(asking, queries, grid), read) + kept
    cells = records[0].cells
    prefix = grid.prefix + waiting.shape[1]
    mass = torch.cat([mass[:, : grid.prefix], waiting, mass[:, grid.prefix :]], 1)
    return mass, grid._replace(prefix=prefix), cells and cells.regrid(grid.shape)


def explain_rollout(model: Backbone, x: Tensor) -> Explanation:
    """Trace what the head reads back through all layers, as shares. x (B, 3, H, W) -> maps (B, h, w).

    Each layer passes half of the mass along its shortcut and half along its attention, averaged over heads (Abnar and
    Zuidema 2020, arXiv:2005.00928).
    """
    unlike = False

    def head_mean(layer: int, weights: Tensor) -> Tensor:
        nonlocal unlike
        rows = weights.abs().sum(-1, keepdim=True)
        if (
            rows - 1
        ).abs().max() > 1e-3 or weights.min() < 0:  # not the output of a softmax: heads were mixed or subtracted
            unlike, weights = True, weights.abs() / rows.clamp(min=torch.finfo(rows.dtype).tiny)  # a row may be zero
        return weights.mean(1, keepdim=True).cpu()

    with torch.inference_mode(), probe(model, x, attention=head_mean) as seen:
        model(x)
        records = position_records(seen.attention)
        last = records[-1].between_positions.q_grid
        start = readout_mass(model, last, len(x)).to(records[-1].weights.dtype)
        mass, grid, cells = walk(records, start, lambda stayed, read: (stayed + read) / 2)
    result = Explanation(as_map(mass, grid), "rollout", f"{len(records)} attention layers", cells=cells)
    if unlike:
        result.notes.append(
            "This model's attention weights are not shares: the map uses their absolute values, each row scaled to one."
        )
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
    """What one layer reads for one query, by one head or the mean of all. x (B, 3, H, W) -> maps (B, h, w).

    `query` is a place in the image, (down, across) from 0 to 1, whose patch is the query. Without it, or where patches
    make no queries, the query is what the head of the model reads: the class token, or all patches evenly.
    """
    with torch.inference_mode(), probe(attention=lambda i, w: w.mean((0, 2, 3))) as seen:
        model(x[:1])
    found = [i for i, record in enumerate(seen.attention) if record.geometry is not None]
    wanted = _choose(found, layer)
    features: list[Tensor] = []  # of the keys: the output of the stage before the layer, if one ends there

    def keep(i: int, weights: Tensor) -> Tensor:
        if i == wanted:
            features.extend(tap.as_map() for tap in seen.taps.values())
        seen.taps.clear()
        return weights.cpu() if i == wanted else weights[:, :0]

    with torch.inference_mode(), probe(model, x, taps=STAGES, attention=keep) as seen:
        model(x)
        record = seen.attention[wanted]
        asking = _asking(model, record, x, head, query)
        default = asking is None
        if asking is None:
            asking = readout_mass(model, record.between_positions.q_grid, len(x)).to(record.weights.dtype)
        mass = record.pullback(asking, head)
    grid = record.between_positions.k_grid
    raw = as_map(mass, grid)
    source = next((name for name, module in model.named_modules() if module is record.layer), f"layer {wanted}")
    source = source if head is None else f"{source}, head {head}"
    result = Explanation(raw, "attention", source, query=None if default else query, cells=record.cells)
    if record.weights.min() < 0:
        result.notes.append(
            "Some weights of this layer are negative: it mixes heads, subtracts one from another, or has no softmax."
        )
    result.notes += tell_of_no_place(model, mass, grid)
    if features and features[-1].shape[2:] == raw.shape[1:]:
        result.notes += tell_of_sinks(raw, features[-1].cpu())
    result.warn_if_even()
    return result


def _asking(
    model: Backbone, record: AttentionRecord, x: Tensor, head: int | None, query: tuple[float, float] | None
) -> Tensor | None:
    """Mass on the patch that `query` points to, (B, Nq); None without a query, or where patches make none."""
    heads = record.weights.shape[1]
    if head is not None and not 0 <= head < heads:
        raise ExplanationError(f"This layer has heads 0 to {heads - 1}; there is no head {head}.")
    geometry = record.between_positions
    grid = geometry.q_grid
    if query is None or not grid.height:
        return None
    cells = record.cells and record.cells.regrid(grid.shape)
    row, col = nearest_cell(cells, grid.shape, x, query)
    patch = grid.prefix + row * grid.width + col
    if not geometry.asks[patch]:
        return None
    mass = record.weights.new_zeros(len(x), grid.tokens)
    mass[:, patch] = 1.0
    return mass


def _choose(layers: list[int], layer: int) -> int:
    if not layers:
        raise ExplanationError("This model has no attention between positions of the image.")
    if not -len(layers) <= layer < len(layers):
        raise ExplanationError(f"This model has attention layers 0 to {len(layers) - 1}; there is no layer {layer}.")
    return layers[layer]
