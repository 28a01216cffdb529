"""Evaluations made up for tests: the figures of a map, photo by photo, beside those of the controls."""

from explain.evaluation import Evaluation, Figures, Sample

MEASURES = ("insertion", "deletion", "road")
EVEN = {"insertion": 0.5, "deletion": 0.5, "road": 0.0}  # figures of a control


def one_each(values: list[float]) -> Sample:
    return Sample(tuple((value,) for value in values))


def control(photos: int, **figures: float) -> Figures:
    return Figures(**{name: one_each([value] * photos) for name, value in (EVEN | figures).items()})


def found(
    gains: dict[str, list[float]],
    pointing: list[float] | None = None,
    correlation: float = 0.0,
    method: str = "grad_cam",
) -> Evaluation:
    """Of a map that is better than every control by `gains` on each photo."""
    photos = len(next(iter(gains.values())))
    signs = {"insertion": 1, "deletion": -1, "road": 1}
    own = {m: one_each([EVEN[m] + signs[m] * gain for gain in gains.get(m, [0.0] * photos)]) for m in MEASURES}
    controls = {name: control(photos) for name in ("random", "centre", "edges")}
    return Evaluation(
        {method: Figures(**own)} | controls, one_each(pointing) if pointing else None, one_each([correlation] * photos)
    )


def wins(*measures: str, photos: int = 5) -> dict[str, list[float]]:
    return {measure: [0.1] * photos for measure in measures} or {"road": [0.0] * photos}
