"""What an evaluation of a method finds (explain/faithfulness.py makes it, explain/verdict.py judges it)."""

from dataclasses import dataclass
from statistics import fmean, stdev

DRAWS = 4  # random maps for each image
CHANCE = 0.25  # share of a map on the right image of four, if the map does not depend on the class


@dataclass(frozen=True)
class Sample:
    """One figure of every image and map: a method has one map for an image, the random control DRAWS."""

    values: tuple[tuple[float, ...], ...]

    @property
    def by_image(self) -> list[float]:
        """The mean over the maps of each image."""
        return [fmean(maps) for maps in self.values]

    @property
    def mean(self) -> float:
        return fmean(self.by_image)

    @property
    def spread(self) -> float | None:
        """Standard deviation over images and maps; None of a single value."""
        everything = [value for maps in self.values for value in maps]
        return stdev(everything) if len(everything) > 1 else None


@dataclass(frozen=True)
class Figures:
    """What is measured of a map and of each control."""

    insertion: Sample
    deletion: Sample
    road: Sample


@dataclass(frozen=True)
class Evaluation:
    """Faithfulness of a method's maps for some images, beside that of the controls."""

    figures: dict[str, Figures]  # by map name; the method's own comes first
    pointing: Sample | None  # share of each of four maps on the right image of four; None without four classes
    correlation: Sample  # of each map with that of the same model after its weights were shuffled

    @property
    def method(self) -> str:
        return next(iter(self.figures))

    @property
    def images(self) -> int:
        return len(self.correlation.values)
