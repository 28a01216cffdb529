"""Where attention goes that goes to no place: prefix tokens, padding, and the sinks among the patches.

A large ViT without registers turns a few patches, in the plain parts of a picture, into stores of what concerns the
whole of it. Their features are outlying in length, and much attention reads them (Darcet et al. 2024, "Vision
Transformers Need Registers", arXiv:2309.16588). A map that is bright there says nothing of what can be seen there.
"""

from torch import Tensor

from zoo.base import Backbone
from zoo.probe import Grid

OUTLYING = 6.0  # median absolute deviations above the median, from which a length is called outlying
WORTH_SAYING = 0.02  # share of the mass
MOST_NAMED = 3  # sinks whose places are told


def find_sinks(features: Tensor) -> Tensor:
    """Tell which places hold features of outlying length. (B, C, h, w) -> (B, h, w), True at sinks."""
    length = features.flatten(2).norm(dim=1)
    above = length - length.median(1, keepdim=True).values
    deviation = above.abs().median(1, keepdim=True).values
    return (above > OUTLYING * deviation).unflatten(1, features.shape[2:])


def tell_of_no_place(model: Backbone, mass: Tensor, grid: Grid) -> list[str]:
    """Say what share of the mass (B, N) fell on prefix tokens, and what share was lost to padding; the most of all."""
    read = min(model.read_tokens if model.readout == "token" else 0, grid.prefix)
    others = grid.prefix - read
    shares = {
        "padding outside the picture": 1 - mass.sum(1),
        "the class token" if read == 1 else f"the {read} class tokens": mass[:, :read].sum(1),
        f"{others} token{'s that stand' if others > 1 else ' that stands'} for no place": mass[
            :, read : grid.prefix
        ].sum(1),
    }
    largest = {where: share.max().item() for where, share in shares.items()}
    return [f"{100 * share:.0f} % fell on {where}." for where, share in largest.items() if share > WORTH_SAYING]


def tell_of_sinks(maps: Tensor, features: Tensor) -> list[str]:
    """Say what the sinks hold of maps (B, h, w) whose keys had these features (B, C, h, w); of the worst picture."""
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
        "where a model stores what concerns the whole picture."
    ]
