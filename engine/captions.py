"""Say in one line which part of a photo a model sees, and where in the model a map was computed."""

from explain import Explanation
from zoo.base import Readout
from zoo.catalogue import Checkpoint
from zoo.preprocess import Size, view

ROUNDING = 0.01  # the sides of a resized photo are whole pixels, so shares differ by this from what was meant
READ: dict[Readout, str] = {  # what the tap "cam" is
    "mean": "the last features before pooling",
    "norm_mean": "the last features before pooling",
    "mean_norm": "the last features before pooling",
    "token": "what the last attention reads",
    "attention_pool": "what the attention pool reads",
    "flatten": "the last features, which the head reads whole",
}


def crop(photo_size: Size, row: Checkpoint) -> str:
    """The part of a photo that the model sees, and how it is resized. `photo_size` is (width, height)."""
    region, (iw, ih) = view(photo_size, row), photo_size
    height, width = region.size
    across = (min(region.right, iw) - max(region.left, 0)) / iw
    down = (min(region.bottom, ih) - max(region.top, 0)) / ih
    stretch = (region.right - region.left) / width * height / (region.bottom - region.top)
    if abs(stretch - 1) <= ROUNDING:
        shape = ""
    else:
        shape = ", squashed" if row.mode == "squash" else ", stretched"
    border = ", with a border" if min(region.left, region.top) < 0 else ""
    if min(across, down) > 1 - ROUNDING:
        part = ", the whole photo"
    elif row.mode == "border":
        part = f", {_percent(min(across, down))} of the longer side"
    elif row.mode == "center" and width == height:
        part = f" centre crop, {_percent(max(across, down))} of the shorter side"
    else:
        part = f" centre crop, {_percent(across)} of the width and {_percent(down)} of the height"
    return f"{width} x {height}{part}{shape}{border}"


def place(maps: Explanation, readout: Readout) -> str:
    """Where in the model a map was computed, and the columns and rows of its grid."""
    where, comma, rest = maps.source.partition(", ")
    where = {"cam": READ[readout], "image": "pixels of the image"}.get(where, where) + comma + rest
    grid = f"{maps.raw.shape[-1]} x {maps.raw.shape[-2]}"
    return where if where.startswith(grid) else f"{where}, {grid}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"
