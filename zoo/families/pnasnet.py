"""PNASNet-5: one kind of cell, found step by step from simple to complex ones, keeps the grid or halves it.

    image -> 3x3 conv (H/2) -> 4 stages of cells, the first of each halves the grid (H/32) -> relu -> mean -> fc
    cell  -> a 1x1 conv of each of its two inputs -> sums of two operations on them or on earlier sums -> concatenated

A model that predicts which candidates are worth training guides the search. Liu et al. 2017, "Progressive Neural
Architecture Search", arXiv:1712.00559; its figure 1 has the cell. 5: its sums.
"""

from zoo.families.nasnet import Config, Place, SearchedNet, cells
from zoo.layers.search_cell import NEW, OLD, Plan, max3, same, sep3, sep5, sep7
from zoo.registry import register

CELL = Plan(
    (
        (sep5, OLD, max3, OLD),
        (sep7, NEW, max3, NEW),
        (sep5, NEW, sep3, NEW),
        (sep3, 2, max3, NEW),
        (sep3, OLD, same, NEW),
    ),
    (0, 1, 2, 3, 4),
)
STAGES = (
    (Place("cell_stem_0", 54),),
    (Place("cell_stem_1", 108), *cells(216, 0, 4)),
    cells(432, 4, 8),
    cells(864, 8, 12),
)

VARIANTS = {"pnasnet5large": Config(STAGES, CELL, CELL, "conv_0", "halve")}
register(SearchedNet, VARIANTS)
