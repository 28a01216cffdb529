"""What an evaluation is worth: a level of evidence, and one sentence for it.

The measures are insertion, deletion and ROAD, and pointing where there were four classes to point at.

1. A map that stays much the same when the weights are shuffled, with a rank correlation of ALIKE or more in the mean,
   shows the photo and not the model. It is no evidence, whatever the measures say.
2. One photo decides nothing: there is no spread to compare a difference with.
3. A measure is won if the map beats the control that does best on it in the mean; on pointing, if it beats CHANCE. The
   two are compared photo by photo; random maps count with the mean of their draws. The mean difference must be LEAST or
   more, and more than ERRORS times its standard error. With five photos, chance alone wins that about one time in 17.
4. Four measures won are strong evidence, three are some, one or two are weak, none is no evidence. So a method that
   did not have to point gives some evidence at most: that it finds the subject, not that it finds the class.
5. Fewer than FEW photos give weak evidence at most.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import stdev
from typing import Literal

from explain.api import METHODS
from explain.evaluation import CHANCE, Evaluation

ALIKE = 0.8  # rank correlation from which two maps count as the same
LEAST = 0.01  # difference in probability, or in a share of the map, below which two maps count as equally good
ERRORS = 2.0  # standard errors that a difference must exceed
FEW = 5  # photos that are needed for more than weak evidence

Level = Literal["strong", "some", "weak", "none", "open"]
LEVELS: tuple[Level, ...] = ("none", "weak", "weak", "some", "strong")  # by the number of measures won
WORDS: dict[Level, str] = {
    "strong": "Strong evidence",
    "some": "Some evidence",
    "weak": "Weak evidence",
    "none": "No evidence",
    "open": "Too few photos",
}
SIGNS = {"insertion": 1, "deletion": -1, "road": 1}  # 1 where more is better
TITLES = {"insertion": "insertion", "deletion": "deletion", "road": "ROAD", "pointing": "right photo of four"}


@dataclass(frozen=True)
class Verdict:
    """A level of evidence and a sentence that says why."""

    level: Level
    sentence: str

    @property
    def word(self) -> str:
        return WORDS[self.level]


def judge(found: Evaluation) -> Verdict:
    """Apply the rules above."""
    title, alike, gains = METHODS[found.method].title, found.correlation.mean, advantages(found)
    if alike >= ALIKE:
        same = f"{title} draws nearly the same map when the weights are shuffled (rank correlation {alike:.2f})"
        return Verdict("none", f"{same}: it shows the photo, not the model.")
    if found.images == 1:
        ahead = [name for name, values in gains.items() if values[0] >= LEAST]
        better = f"on it {title} is ahead of the controls on {_count(ahead, gains)}"
        return Verdict("open", f"One photo decides nothing: {better}, which may be chance; take {FEW} photos or more.")
    won = [name for name, values in gains.items() if is_win(values)]
    level = LEVELS[len(won)]
    few = found.images < FEW
    if few and level != "none":
        level = "weak"
    advice = {
        "strong": "treat it as strong evidence of what the model uses",
        "some": "treat it as some evidence",
        "weak": "treat it as weak evidence",
        "none": "do not treat it as evidence",
    }[level]
    so_few = ", and so few photos decide little" if few else ""
    return Verdict(
        level, f"On these {found.images} photos {title} beats the controls on {_count(won, gains)}{so_few}: {advice}."
    )


def advantages(found: Evaluation) -> dict[str, list[float]]:
    """By measure, how much better the map is than the best control: for each photo, or each map that was to point."""
    own, *others = found.figures.values()
    gains = {}
    for name, sign in SIGNS.items():
        best = max((getattr(other, name) for other in others), key=lambda sample: sign * sample.mean)
        pairs = zip(getattr(own, name).by_image, best.by_image, strict=True)
        gains[name] = [sign * (mine - theirs) for mine, theirs in pairs]
    if found.pointing:
        gains["pointing"] = [share - CHANCE for share in found.pointing.by_image]
    return gains


def is_win(differences: list[float]) -> bool:
    """Whether the mean difference is at least LEAST and more than ERRORS times its standard error."""
    mean = sum(differences) / len(differences)
    return mean >= LEAST and mean > ERRORS * stdev(differences) / sqrt(len(differences))


def _count(names: list[str], among: dict[str, list[float]]) -> str:
    if not names:
        return f"none of {len(among)} measures"
    every = "all" if len(names) == len(among) else f"{len(names)} of"
    return f"{every} {len(among)} measures ({', '.join(TITLES[name] for name in names)})"
