"""Look into a model while it runs: attention weights and feature maps, for any number of threads at once.

    with probe(model, x, taps={"cam"}, attention=whole, gradient=True) as seen:
        logits = model(x)
    seen.taps["cam"].value, seen.taps["cam"].cells, seen.attention[0].weights

Families call `attention()` (or `attend()`), `layer_norm()` and `tap()`; without an open probe these cost only a
ContextVar read. A probe belongs to the thread that opened it and looks at one forward pass; the model is never changed,
and there is nothing to remove afterwards.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells import Cells
from zoo.follow import Follow

Layout = Literal["NCHW", "NHWC", "NLC"]
STAGES = tuple(f"stage{i}" for i in range(1, 101))  # the taps after the stages, or blocks, of a model


class Grid(NamedTuple):
    """A token list: `prefix` tokens without a position (class, registers), then height x width patches by rows."""

    prefix: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        return self.prefix + self.height * self.width

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width


@dataclass(frozen=True)
class Geometry:
    """Which tokens the queries and keys of an attention between positions are.

    `q_index` (W, Q) and `k_index` (W, K) give, for each of W windows (1 if attention is global), each slot's position
    in the token list that `q_grid` and `k_grid` describe; -1 is padding. A key that stands for m tokens, as after
    pooling, lists them all: `k_index` (W, K, m). A token may be in several windows, or be a query in none.
    """

    q_index: Tensor
    k_index: Tensor
    q_grid: Grid
    k_grid: Grid

    @classmethod
    def dense(cls, grid: Grid) -> "Geometry":
        """Every token attends to every token."""
        return cls.across(grid, grid)

    @classmethod
    def across(cls, queries: Grid, keys: Grid) -> "Geometry":
        """Every token of one grid attends to every token of another, such as a coarser one."""
        return cls(torch.arange(queries.tokens)[None], torch.arange(keys.tokens)[None], queries, keys)

    @classmethod
    def one_query(cls, grid: Grid, start: int = 0) -> "Geometry":
        """One query, which is no token of the grid, reads its tokens from `start` on."""
        query, keys = torch.zeros(1, 1, dtype=torch.long), torch.arange(start, grid.tokens)[None]
        return cls(query, keys, Grid(1, 0, 0), grid)

    @classmethod
    def first_query(cls, grid: Grid) -> "Geometry":
        """The first token reads every token, itself included; the others are no queries."""
        return cls(torch.zeros(1, 1, dtype=torch.long), torch.arange(grid.tokens)[None], grid, grid)

    @property
    def seats(self) -> Tensor:
        """In how many slots each token is a query. (Nq,)."""
        asked = self.q_index[self.q_index >= 0]
        return torch.bincount(asked.flatten(), minlength=self.q_grid.tokens)

    @property
    def asks(self) -> Tensor:
        """Which tokens are queries at all; the others keep what they have. (Nq,) of booleans."""
        return self.seats > 0


@dataclass
class AttentionRecord:
    """The matrix that multiplied the values: `weights` (B * W, heads, Q, K), image by image, window by window.

    Without a geometry the attention is between channels, (B, heads, C, C), which have no position in the image.
    """

    layer: nn.Module
    weights: Tensor
    geometry: Geometry | None
    cells: Cells | None = None  # where the keys' patches look, if the probe was given the image

    @property
    def between_positions(self) -> Geometry:
        """The geometry; a ValueError if the attention is between channels."""
        if self.geometry is None:
            raise ValueError("This attention is between channels: it has no geometry.")
        return self.geometry

    def by_window(self) -> Tensor:
        """(B, W, heads, Q, K)."""
        return self.weights.unflatten(0, (-1, self.between_positions.q_index.shape[0]))

    def pullback(self, mass: Tensor, head: int | None = None) -> Tensor:
        """Carry mass from the queries to the tokens that they read, by one head or by the mean of all.

        (B, Nq) -> (B, Nk). A token that is a query in several windows has an equal share of its mass in each. Mass that
        falls on padding leaves the image, and mass on tokens that are no queries is left out: the result sums to less
        than `mass` by that much.
        """
        g = self.between_positions
        nq, nk = g.q_grid.tokens, g.k_grid.tokens
        q_index, k_index, seats = (t.to(mass.device) for t in (g.q_index, g.k_index, g.seats))
        mass = F.pad(mass / seats.clamp(min=1), (0, 1))[:, torch.where(q_index < 0, nq, q_index)]  # (B, W, Q)
        weights = self.by_window().mean(2) if head is None else self.by_window()[:, :, head]
        out = torch.einsum("bwq,bwqk->bwk", mass, weights.to(mass))
        if k_index.ndim == 3:
            out = (out / k_index.shape[2])[..., None].expand(-1, *k_index.shape)
        slot = torch.where(k_index < 0, nk, k_index).flatten()
        return out.new_zeros(len(out), nk + 1).index_add_(1, slot, out.flatten(1))[:, :nk]

    def dense(self, image: int = 0) -> Tensor:
        """Every token against every token, as `pullback` carries mass; zero if one does not see the other.

        -> (heads, Nq, Nk).
        """
        g, weights = self.between_positions, self.by_window()[image].movedim(1, 0)  # (heads, W, Q, K)
        nq, nk = g.q_grid.tokens, g.k_grid.tokens
        rows = torch.where(g.q_index < 0, nq, g.q_index)[:, :, None]
        cols = torch.where(g.k_index < 0, nk, g.k_index)[:, None]
        if g.k_index.ndim == 3:
            rows, weights = rows[..., None], (weights / g.k_index.shape[2])[..., None]
        rows, cols = torch.broadcast_tensors(rows, cols)
        flat = weights.expand(-1, *rows.shape).flatten(1)
        out = flat.new_zeros(len(flat), (nq + 1) * (nk + 1)).index_add_(1, (rows * (nk + 1) + cols).flatten(), flat)
        return out.view(-1, nq + 1, nk + 1)[:, :nq, :nk] / g.seats.clamp(min=1)[:, None]


@dataclass
class Tap:
    """A feature tensor as the model has it, with what is needed to see it as a map."""

    value: Tensor
    layout: Layout
    grid: Grid | None  # for NLC
    order: Tensor | None = None  # for NLC: which token, after the prefix, is the patch in each row and column
    cells: Cells | None = None  # where its cells look, if the probe was given the image
    attentions: int = 0  # how many were recorded before it

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of its grid."""
        if self.layout == "NLC":
            assert self.grid is not None
            return self.grid.shape
        start = 2 if self.layout == "NCHW" else 1
        return self.value.shape[start], self.value.shape[start + 1]

    def as_map(self, value: Tensor | None = None) -> Tensor:
        """See this tensor, or one of its shape such as its gradient, as a map. -> (B, C, H, W)."""
        x = self.value if value is None else value
        if self.layout == "NCHW":
            return x
        if self.layout == "NHWC":
            return x.permute(0, 3, 1, 2)
        assert self.grid is not None
        patches = x[:, self.grid.prefix :]
        patches = patches if self.order is None else patches[:, self.order.to(x.device)]
        return patches.transpose(1, 2).unflatten(2, self.grid.shape)


@dataclass
class Probe:
    """What one forward pass recorded."""

    wanted: Collection[str] = ()
    keep: Callable[[int, Tensor], Tensor] | None = None
    gradient: bool = False
    follow: Follow | None = None
    cells: dict[str | int, Cells | None] = field(default_factory=dict)  # by tap, and by number of attention layer
    taps: dict[str, Tap] = field(default_factory=dict)
    attention: list[AttentionRecord] = field(default_factory=list)
    layers: int = 0  # of attention so far

    def locate(self, name: str | int, x: Tensor, shape: tuple[int, int]) -> None:
        """Note where the cells of a tensor look, as a grid of `shape`."""
        if self.follow is not None:
            found = self.follow.of(x) if min(shape) else None
            self.cells[name] = found and found.regrid(shape)


# Cells depend only on a model's structure and the image's size: the first pass at a size records them for the others.
_CELLS: WeakKeyDictionary[nn.Module, dict[tuple[int, int], dict[str | int, Cells | None]]] = WeakKeyDictionary()

_PROBE: ContextVar[Probe | None] = ContextVar("zoo_probe", default=None)
_FREEZE_NORM: ContextVar[bool] = ContextVar("zoo_freeze_norm", default=False)
_FREEZE_ATTENTION: ContextVar[bool] = ContextVar("zoo_freeze_attention", default=False)


def whole(layer: int, weights: Tensor) -> Tensor:
    """Keep every head of every layer."""
    return weights


@contextmanager
def probe(
    model: nn.Module | None = None,
    image: Tensor | None = None,
    taps: Collection[str] = (),
    attention: Callable[[int, Tensor], Tensor] | None = None,
    gradient: bool = False,
) -> Iterator[Probe]:
    """Record the named taps, and attention if asked for, of the one forward pass inside.

    Given the model and its input image, records also say where their cells look (zoo/cells.py). `attention` is called
    with the number of the layer, from 0, and its weights (B * W, heads, Q, K); what it returns is recorded. `whole`
    keeps everything, which may need too much memory in a large model: a mean over heads is often enough. With
    `gradient`, recorded tensors can be differentiated against. If nothing before them needs a gradient (frozen
    parameters, a plain image), the graph starts there, so that a gradient costs only the layers after the tap.
    """
    seen = Probe(taps, attention, gradient)
    known: dict[tuple[int, int], dict[str | int, Cells | None]] = {}
    size = (0, 0) if image is None else (image.shape[2], image.shape[3])
    if model is not None and image is not None:
        known = _CELLS.setdefault(model, {})
        seen.cells = known.get(size, {})
        seen.follow = None if seen.cells else Follow(image)
    with _during(_PROBE, seen), seen.follow or nullcontext():
        yield seen
    if any(seen.cells.values()):  # the whole pass was followed
        known[size] = seen.cells


def frozen_norm() -> AbstractContextManager[None]:
    """Treat each layer norm's deviation as a constant when differentiating.

    Scaling a layer norm's input does not change its output, so gradient x input sums to zero before it. With the
    deviation held fixed it is linear, and the sum is the logit minus a constant (Ali et al. 2022, arXiv:2202.07304).
    """
    return _during(_FREEZE_NORM, True)


def frozen_attention() -> AbstractContextManager[None]:
    """Treat attention weights as constants when differentiating: attention is then linear in its values (as above)."""
    return _during(_FREEZE_ATTENTION, True)


@contextmanager
def _during(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _leaf(x: Tensor, seen: Probe) -> Tensor:
    """Let a graph start at x if it has none yet."""
    return x if x.requires_grad or not seen.gradient else x.detach().requires_grad_()


def tap(name: str, x: Tensor, layout: Layout, grid: Grid | None = None, order: Tensor | None = None) -> Tensor:
    """Mark x as a tensor to look at and return it, as a copy if it is recorded.

    `order` (H * W,) is for tokens that are not in the order of the grid's rows: the position of each patch among the
    tokens after the prefix. Raises ValueError for a name that this pass has already used.
    """
    seen = _PROBE.get()
    if seen is None:
        return x
    seen.locate(name, x, Tap(x, layout, grid).shape)
    if name not in seen.wanted:
        return x
    if name in seen.taps:
        raise ValueError(f"The tap {name!r} is named twice in one forward pass: give each tap a name of its own.")
    x = _leaf(x, seen)
    seen.taps[name] = Tap(x, layout, grid, order, seen.cells.get(name), len(seen.attention))
    return x.clone()  # so that no in-place layer after it can change what was recorded


def attend(
    weights: Callable[[], Tensor],
    v: Tensor,
    *,
    layer: nn.Module,
    geometry: Callable[[], Geometry] | None,
    fast: Callable[[], Tensor] | None = None,
) -> Tensor:
    """weights() v, for attention weights of any kind. (B, h, Q, K), (B, h, K, d) -> (B, h, Q, d).

    All attention in the zoo goes through here. `layer` is the calling module; `geometry` is called only if a probe is
    open, and is None for attention between channels; `fast` gives the same result without showing its weights.
    """
    seen, frozen = _PROBE.get(), _FREEZE_ATTENTION.get()
    if seen is not None:
        if seen.follow is not None and geometry is not None:
            seen.locate(seen.layers, v, geometry().k_grid.shape)
        seen.layers += 1
    if fast is not None and not frozen and (seen is None or seen.keep is None):
        return fast()
    found = weights()
    if frozen:
        found = found.detach()
    if seen is not None and seen.keep is not None:
        found, number = _leaf(found, seen), seen.layers - 1
        kept = seen.keep(number, found)
        seen.attention.append(AttentionRecord(layer, kept, geometry and geometry(), seen.cells.get(number)))
    return found @ v


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    layer: nn.Module,
    geometry: Callable[[], Geometry] | None,
    bias: Tensor | None = None,
    scale: float | None = None,
    mix_pre: Callable[[Tensor], Tensor] | None = None,
    mix_post: Callable[[Tensor], Tensor] | None = None,
    fused: Callable[[], Tensor] | None = None,
) -> Tensor:
    """softmax(q k^T * scale + bias) v. (B, h, Q, d), (B, h, K, d), (B, h, K, d) -> (B, h, Q, d).

    `mix_pre` and `mix_post` mix heads before and after the softmax (talking heads). `fused` gives the same result
    faster, without showing its weights, where PyTorch's own attention does not fit. `scale` is 1/sqrt(d) unless given.
    """

    def weights() -> Tensor:
        scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
        if mix_pre is not None:
            scores = mix_pre(scores)
        if bias is not None:
            scores = scores + bias
        shares = scores.softmax(-1)
        return shares if mix_post is None else mix_post(shares)

    def plain() -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)

    # For values wider than keys PyTorch has no kernel on a CPU, and its detour takes twice as long as the weights.
    kernel = q.shape[-1] == v.shape[-1] and mix_pre is None and mix_post is None
    fast = fused or (plain if kernel else None)
    return attend(weights, v, layer=layer, geometry=geometry, fast=fast)


def held(deviation: Tensor) -> Tensor:
    """Return a norm's deviation, as a constant inside `frozen_norm`."""
    return deviation.detach() if _FREEZE_NORM.get() else deviation


def layer_norm(x: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """F.layer_norm over the last axis, or, inside `frozen_norm`, the same numbers with a linear gradient."""
    if not _FREEZE_NORM.get():
        return F.layer_norm(x, shape, weight, bias, eps)
    deviation = held((x.var(-1, unbiased=False, keepdim=True) + eps).sqrt())
    x = (x - x.mean(-1, keepdim=True)) / deviation
    x = x if weight is None else x * weight
    return x if bias is None else x + bias
