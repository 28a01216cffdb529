"""Published files that are laid out otherwise: recognised by a key, unwrapped, renamed, and given this zoo's shapes.

A family says how in a Layout, or several; Backbone.adapt puts a file through each that fits it. All patterns are
regular expressions that are searched in a key.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

State = dict[str, Tensor]
NOTHING = r"(?!)"  # a pattern that is found nowhere


@dataclass(frozen=True)
class Layout:
    """How one kind of file differs from the model's own state dict. Its fields are applied in this order."""

    marker: str = ""  # only a file with such a key is meant; "": every file
    under: str = ""  # how the model's keys begin there; this is taken off, and the rest of the file is left out
    regrouped: Callable[[State], State] = dict  # what renaming key by key can't say
    unused: str = NOTHING  # keys that the model has no use for
    projection: str = NOTHING  # the last layer as a matrix (dim, classes), applied from the right
    renamed: tuple[tuple[str, str], ...] = ()  # what is replaced in a key, and by what, one after the other
    reshaped: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)  # by new key

    def convert(self, state: State, head: str) -> State:
        """Give the model's keys and shapes; a last layer that comes without a bias is given zeros."""
        new = {}
        for key, value in self.regrouped(state).items():
            key, inside = re.subn(f"^{self.under}", "", key)
            if not inside or re.search(self.unused, key):
                continue
            if re.search(self.projection, key):
                new[f"{head}.weight"] = value.T
                continue
            for old, name in self.renamed:
                key = re.sub(old, name, key)
            new[key] = self.reshaped[key](value) if key in self.reshaped else value
        weight, bias = f"{head}.weight", f"{head}.bias"
        if weight in new and weight not in state and bias not in new:
            new[bias] = new[weight].new_zeros(len(new[weight]))
        return new


def open_clip(head: str) -> Layout:
    """An image encoder of this zoo inside open_clip's model: its last layer lies beside it, a text encoder too."""
    return Layout(
        marker=r"^visual\.trunk\.",
        under=r"visual\.",
        unused=r"^(?!trunk\.|head\.proj\.)",
        renamed=((r"^head\.proj\.", f"{head}."), (r"^trunk\.", "")),
    )


def adapt(state: State, layouts: tuple[Layout, ...], head: str) -> State:
    """Bring a file to the keys and shapes of a model whose last linear layer is called `head`."""
    for layout in (open_clip(head), *layouts):
        if any(re.search(layout.marker, key) for key in state):
            state = layout.convert(state, head)
    return state
