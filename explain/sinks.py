"""Attention that falls on no place of the image: on prefix tokens, on padding, and on sinks among the patches.

A large ViT without registers uses a few patches in plain parts of an image to store global information. The norms of
their features are outliers, and they receive much attention (Darcet et al. 2024, "Vision Transformers Need Registers",
arXiv:2309.16588). A bright spot there tells nothing about what is visible there.
"""

from torch import Tensor

from zoo.base import Backbone
from zoo.probe import Grid

OUTLYING = 6.0  # median absolute deviations above the median from which a length counts as an outlier
WORTH_SAYING = 0.02  # share of the mass
MOST_NAMED = 3  # sinks whose places a note names


def find_sinks(features: Tensor) -> Tensor:
    """Find places whose features have outlying length. (B, C, h, w) -> (B, h, w), True at sinks."""
    length = features.flatten(2).norm(dim=1)
    above = length - length.median(1, keepdim=True).values
    deviation = above.abs().median(1, keepdim=True).values
    return (above > OUTLYING * deviation).unflatten(1, features.shape[2:])


def tell_of_no_place(model: Backbone, mass: Tensor, grid: Grid) -> list[str]:
    """Notes on the shares of the mass (B, N) on prefix tokens and lost to padding: the largest in the batch."""
    read = min(model.read_tokens if model.readout == "token" else 0, grid.prefix)
    others = grid.prefix - read
    shares = {
        "padding outside the image": 1 - mass.sum(1),
        "the class token" if read == 1 else f"the {read} class tokens": mass[:, :read].sum(1),
        f"{others} token{'s that stand' if others > 1 else ' that stands'} for no place": mass[
            :, read : grid.prefix
        ].sum(1),
    }
    largest = {where: share.max().item() for where, share in shares.items()}
    return [f"{100 * share:.0f} % fell on {where}." for where, share in largest.items() if share > WORTH_SAYING]


def tell_of_sinks(maps: Tensor, features: Tensor) -> list[str]:
    """Note on the share of maps (B, h, w) on sinks, found by the keys' features (B, C, h, w): the worst in a batch."""
    held = (maps * find_sinks(features).to(maps)).flatten(1)
    share, worst = held.sum(1).max(0)
    if share <= WORTH_SAYING:
        return []
    count = int((held[worst] > 0).sum())
    places = [divmod(int(i), maps.shape[2]) for i in held[worst].argsort(descending=True)[: min(count, MOST_NAMED)]]
    named = " and ".join(f"row {row + 1}, column {col + 1}" for row, col in places)
    patches = "1 patch" if count == 1 else f"{count} patches"
    return [
        f"{100 * share:.0f} % fell on {patches} of outlying features, such as {named}: sinks, "
        "where a model stores information about the whole image."
    ]
