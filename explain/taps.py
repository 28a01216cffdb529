"""Finding a layer by the name that its family gave it (zoo/probe.py)."""

from explain.result import ExplanationError
from zoo.probe import Tap

MOST_STAGES = 100


def stage_names() -> list[str]:
    """What the taps behind the stages, or blocks, of any model are called."""
    return [f"stage{i}" for i in range(1, MOST_STAGES + 1)]


def find_tap(taps: dict[str, Tap], tap: str) -> Tap:
    """Look up a tap that was asked for; refuse, in words, one that the model does not have."""
    if tap not in taps:
        raise ExplanationError(f"This model has no layer called {tap!r} to look at.")
    return taps[tap]
