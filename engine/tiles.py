"""Looks drawn small, so that many can be seen side by side, on one colour scale."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from engine.images import decode, encode_small
from engine.jobs import Encoded, Look, Map
from explain.render import Placement, paint

SIDE = 240  # pixels of the longer side


@dataclass(frozen=True)
class Tile:
    """A photo, and the map to lay over it."""

    photo: Encoded
    layer: Encoded | None
    largest: float | None  # value of the map, in its own units; None without one, and for features


def group(looks: Iterable[Look]) -> list[np.ndarray]:
    """The maps that can share a colour scale: all but those of features."""
    return [look.map.values for look in looks if look.map and look.map.values.ndim == 2]


def tile(look: Look, scale: list[np.ndarray] | None = None) -> Tile:
    """Draw a look small, on the colour scale of several maps or on that of its own."""
    small = decode(look.photo)
    small.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    if look.map is None:
        return Tile(encode_small(small), None, None)
    drawn = look.map
    shared = scale if scale and drawn.values.ndim == 2 else [drawn.values]
    layer, _, _ = paint(drawn.values, drawn.cells, _shrunk(drawn, small), shared, drawn.signed)
    largest = None if drawn.values.ndim == 3 else float(drawn.values.max())
    return Tile(encode_small(small), encode_small(layer), largest)


def _shrunk(drawn: Map, small: Image.Image) -> Placement:
    """Where what the model saw lies on the small photo."""
    (width, height), (left, top, right, bottom) = drawn.placement.size, drawn.placement.box
    across, down = small.width / width, small.height / height
    return Placement(small.size, (left * across, top * down, right * across, bottom * down), drawn.placement.seen)
