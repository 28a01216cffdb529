"""What an explanation is: raw signed values on the grid where they arose, and how they came about."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zoo.cells import Cells

Progress = Callable[[int, int], None]  # told how many steps of how many are done; what it raises ends the work


def silent(done: int, total: int) -> None:
    """Tell nobody."""


class ExplanationError(ValueError):
    """A map that cannot be made; the message is one sentence for the person who asked."""


@dataclass
class Explanation:
    """Maps `raw` (B, h, w): signed, in the model's own units, not stretched. Drawing is explain/render.py's.

    A map of features has three values a place, (B, 3, h, w), to be drawn as one colour.
    """

    raw: Tensor
    method: str
    source: str  # the tap, or the attention layers
    target: list[int] | None = None  # class a picture; None where the map does not depend on a class
    contrast: int | None = None  # the map is for target less this class
    score: list[float] | None = None  # logit of the target, less that of the contrast
    query: tuple[float, float] | None = None  # place in the image, (down, across) from 0 to 1, that was asked about
    seed: int | None = None  # of the noise, where there is some
    cells: Cells | None = None  # where the map's cells look, in pixels of the image; None: they tile it evenly
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)  # what a person should know of the map, a sentence each

    def places(self, size: tuple[int, int]) -> Cells:
        """Where the map's cells look in an image of `size` (height, width)."""
        return self.cells or Cells.even((self.raw.shape[-2], self.raw.shape[-1]), size)

    def warn_if_even(self) -> None:
        """Say in words that no place of a map of shares stands out."""
        if self.raw.max() < 1.2 * self.raw.mean():
            self.notes.append("The map is nearly even: no place stands out.")

    def warn_if_empty(self, scale: float) -> None:
        """Say in words that a map holds nothing, lest noise be stretched; `scale` is what its terms amount to."""
        largest = self.raw.abs().max().item()
        if not torch.isfinite(self.raw).all():
            self.notes.append("The map holds values that are no numbers: the model overflowed on this picture.")
        elif largest <= 1e-6 * scale:
            self.notes.append("The map is zero everywhere: at this layer no place has a share in the score.")
        elif self.raw.max() <= 0:
            self.notes.append("Every place speaks against this class: there is no positive evidence to show.")
