"""Look into a model while it runs: attention weights and feature maps, for any number of threads at once.

    with probe(taps={"cam"}, attention=whole, gradient=True) as seen:
        logits = model(x)
    seen.taps["cam"].value, seen.attention[0].weights

Families call `attention()`, `layer_norm()` and `tap()`; with no probe open these cost nothing but a ContextVar read.
A probe belongs to the thread that opened it, the model is never touched, and there is nothing to remove afterwards.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layout = Literal["NCHW", "NHWC", "NLC"]
STAGES = tuple(f"stage{i}" for i in range(1, 101))  # what the taps behind the stages, or blocks, of a model are called


class Grid(NamedTuple):
    """A token list: `prefix` tokens that stand for no place (class, registers), then height x width patches by rows."""

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
    """Where the queries and keys of an attention stand in the picture.

    `q_index` (W, Q) and `k_index` (W, K) give, for each of W windows (1 where attention is global), each slot's
    position in the token list that `q_grid` and `k_grid` describe; -1 is padding.
    """

    q_index: Tensor
    k_index: Tensor
    q_grid: Grid
    k_grid: Grid

    @classmethod
    def dense(cls, grid: Grid) -> "Geometry":
        """Every token attends to every token."""
        index = torch.arange(grid.tokens)[None]
        return cls(index, index, grid, grid)


@dataclass
class AttentionRecord:
    """The matrix that multiplied the values: `weights` (B * W, heads, Q, K), image by image, window by window."""

    layer: nn.Module
    weights: Tensor
    geometry: Geometry
    kind: Literal["token", "channel"] = "token"

    def by_window(self) -> Tensor:
        """(B, W, heads, Q, K)."""
        return self.weights.unflatten(0, (-1, self.geometry.q_index.shape[0]))

    def pullback(self, mass: Tensor, head: int | None = None) -> Tensor:
        """Carry mass from queries to the keys that they read, by one head or the mean of all. (B, Nq) -> (B, Nk).

        What falls on padding leaves the picture: the result sums to less than `mass` by that much.
        """
        g, nq, nk = self.geometry, self.geometry.q_grid.tokens, self.geometry.k_grid.tokens
        q_index, k_index = g.q_index.to(mass.device), g.k_index.to(mass.device)
        mass = F.pad(mass, (0, 1))[:, torch.where(q_index < 0, nq, q_index)]  # (B, W, Q)
        weights = self.by_window().mean(2) if head is None else self.by_window()[:, :, head]
        out = torch.einsum("bwq,bwqk->bwk", mass, weights.to(mass)).flatten(1)
        slot = torch.where(k_index < 0, nk, k_index).flatten()
        return out.new_zeros(len(out), nk + 1).index_add_(1, slot, out)[:, :nk]

    def dense(self, image: int = 0) -> Tensor:
        """Every query against every key in the picture; zero where a query does not see a key. (heads, Nq, Nk)."""
        g, weights = self.geometry, self.by_window()[image]
        nq, nk = g.q_grid.tokens, g.k_grid.tokens
        rows, cols = torch.where(g.q_index < 0, nq, g.q_index), torch.where(g.k_index < 0, nk, g.k_index)
        out = weights.new_zeros(weights.shape[1], nq + 1, nk + 1)
        out[:, rows[:, :, None], cols[:, None, :]] = weights.movedim(1, 0)
        return out[:, :nq, :nk]


@dataclass
class Tap:
    """A feature tensor as the model had it, with what is needed to see it as an image."""

    value: Tensor
    layout: Layout
    grid: Grid | None  # for NLC

    def as_map(self, value: Tensor | None = None) -> Tensor:
        """See this tensor, or one of its shape such as its gradient, as an image. -> (B, C, H, W)."""
        x = self.value if value is None else value
        if self.layout == "NCHW":
            return x
        if self.layout == "NHWC":
            return x.permute(0, 3, 1, 2)
        assert self.grid is not None
        return x[:, self.grid.prefix :].transpose(1, 2).unflatten(2, self.grid.shape)


@dataclass
class Probe:
    """What one forward pass showed."""

    wanted: Collection[str] = ()
    keep: Callable[[int, Tensor], Tensor] | None = None
    gradient: bool = False
    taps: dict[str, Tap] = field(default_factory=dict)
    attention: list[AttentionRecord] = field(default_factory=list)


_PROBE: ContextVar[Probe | None] = ContextVar("zoo_probe", default=None)
_FREEZE_NORM: ContextVar[bool] = ContextVar("zoo_freeze_norm", default=False)
_FREEZE_ATTENTION: ContextVar[bool] = ContextVar("zoo_freeze_attention", default=False)


def whole(layer: int, weights: Tensor) -> Tensor:
    """Keep every head of every layer."""
    return weights


@contextmanager
def probe(
    taps: Collection[str] = (), attention: Callable[[int, Tensor], Tensor] | None = None, gradient: bool = False
) -> Iterator[Probe]:
    """Record the named taps, and attention if asked, of the forward passes run inside.

    `attention` is called with the number of the layer, from 0, and its weights (B * W, heads, Q, K); what it gives is
    recorded. `whole` keeps all, which a large model may have no memory for: a mean over heads is often enough.
    With `gradient`, recorded tensors can be differentiated against. If nothing before them needs a gradient (frozen
    parameters, a plain image), the graph starts there, so that a gradient costs only the layers behind the tap.
    """
    seen = Probe(taps, attention, gradient)
    token = _PROBE.set(seen)
    try:
        yield seen
    finally:
        _PROBE.reset(token)


@contextmanager
def frozen_norm() -> Iterator[None]:
    """Treat each layer norm's deviation as a constant when differentiating.

    A layer norm does not change when its input is scaled, so gradient x input sums to zero in front of it. With the
    deviation held fixed it is linear, and the sum is the logit less a constant (Ali et al. 2022, arXiv:2202.07304).
    """
    token = _FREEZE_NORM.set(True)
    try:
        yield
    finally:
        _FREEZE_NORM.reset(token)


@contextmanager
def frozen_attention() -> Iterator[None]:
    """Treat attention weights as constants when differentiating: attention is then linear in its values (as above)."""
    token = _FREEZE_ATTENTION.set(True)
    try:
        yield
    finally:
        _FREEZE_ATTENTION.reset(token)


def _leaf(x: Tensor, seen: Probe) -> Tensor:
    """Let a graph start at x if it has none yet."""
    return x if x.requires_grad or not seen.gradient else x.detach().requires_grad_()


def tap(name: str, x: Tensor, layout: Layout, grid: Grid | None = None) -> Tensor:
    """Mark x as a place to look at; give it back, as a new tensor when it is recorded."""
    seen = _PROBE.get()
    if seen is None or name not in seen.wanted:
        return x
    x = _leaf(x, seen)
    seen.taps[name] = Tap(x, layout, grid)
    return x.clone()  # so that no in-place layer behind can change what was recorded


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    layer: nn.Module,
    geometry: Callable[[], Geometry],
    bias: Tensor | None = None,
    scale: float | None = None,
    kind: Literal["token", "channel"] = "token",
    mix_pre: Callable[[Tensor], Tensor] | None = None,
    mix_post: Callable[[Tensor], Tensor] | None = None,
    fused: Callable[[], Tensor] | None = None,
) -> Tensor:
    """softmax(q k^T * scale + bias) v. (B, h, Q, d), (B, h, K, d), (B, h, K, d) -> (B, h, Q, d).

    All attention in the zoo goes through here. `layer` is the module that asks, `geometry` is called only when
    somebody looks; `mix_pre` and `mix_post` mix heads before and after the softmax (talking heads). `fused` gives the
    same result by a faster way that shows no weights, where PyTorch's own does not fit. `scale` is 1/sqrt(d) unless
    given.
    """
    seen = _PROBE.get()
    if seen is not None and seen.keep is None:
        seen = None
    frozen = _FREEZE_ATTENTION.get()
    if seen is None and not frozen and fused is not None:
        return fused()
    if seen is None and not frozen and mix_pre is None and mix_post is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    if mix_pre is not None:
        scores = mix_pre(scores)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(-1)
    if mix_post is not None:
        weights = mix_post(weights)
    if frozen:
        weights = weights.detach()
    if seen is not None and seen.keep is not None:
        weights = _leaf(weights, seen)
        seen.attention.append(AttentionRecord(layer, seen.keep(len(seen.attention), weights), geometry(), kind))
    return weights @ v


def held(deviation: Tensor) -> Tensor:
    """Give a norm's deviation back: as a constant inside `frozen_norm`."""
    return deviation.detach() if _FREEZE_NORM.get() else deviation


def layer_norm(x: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """F.layer_norm over the last axis, or, inside `frozen_norm`, the same numbers with a linear gradient."""
    if not _FREEZE_NORM.get():
        return F.layer_norm(x, shape, weight, bias, eps)
    deviation = held((x.var(-1, unbiased=False, keepdim=True) + eps).sqrt())
    x = (x - x.mean(-1, keepdim=True)) / deviation
    x = x if weight is None else x * weight
    return x if bias is None else x + bias
