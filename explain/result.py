"""The result of every method: raw signed values on the grid where they were computed, and how they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zoo.cells import Cells

if TYPE_CHECKING:
    from torch import Tensor


class ExplanationError(ValueError):
    """A map cannot be made; the message is one sentence for the person who asked."""


@dataclass
class Explanation:
    """Maps `raw` (B, h, w): signed, in the model's own units, not rescaled. explain/render.py draws them.

    A map of features has three values per place, (B, 3, h, w), drawn as one colour.
    """

    raw: Tensor
    method: str
    source: str  # the tap, or the attention layers
    target: list[int] | None = None  # class per image; None if the map does not depend on a class
    contrast: int | None = None  # the map explains the target minus this class
    score: list[float] | None = None  # logit of the target, minus that of the contrast
    query: tuple[float, float] | None = None  # place asked about, (down, across) from 0 to 1
    seed: int | None = None  # of the noise, if any
    cells: Cells | None = None  # where the map's cells look, in image pixels; None if they tile the image evenly
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)  # what a person should know about the map, one sentence each

    def places(self, size: tuple[int, int]) -> Cells:
        """Where the map's cells look in an image of `size` (height, width)."""
        return self.cells or Cells.even((self.raw.shape[-2], self.raw.shape[-1]), size)

    def warn_if_even(self) -> None:
        """Add a note if no place of a map of shares stands out."""
        if self.raw.max() < 1.2 * self.raw.mean():
            self.notes.append("The map is nearly even: no place stands out.")

    def warn_if_empty(self, scale: float) -> None:
        """Add a note if the map holds no evidence; `scale` is the size of its terms, to tell zero from rounding."""
        largest = self.raw.abs().max().item()
        if not self.raw.isfinite().all():
            self.notes.append("The map holds infinities or NaN: the model overflowed on this image.")
        elif largest <= 1e-6 * scale:
            self.notes.append("The map is zero everywhere: nothing that it is made of changes the score.")
        elif self.raw.max() <= 0:
            self.notes.append("Every place is evidence against this class: there is no positive evidence to show.")
