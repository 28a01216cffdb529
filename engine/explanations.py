"""Which explanations a model allows, known before its weights are loaded."""

from functools import lru_cache

import explain
from engine.search import recipe
from explain import Availability
from zoo.registry import create_meta


def explanations(name: str) -> list[Availability]:
    """For every method, whether a checkpoint or architecture allows it, and if not, why. Raises EngineError.

    The model is built on the meta device: what obstacles ask of it are its modules, attributes and number of classes.
    """
    row = recipe(name)
    return list(_explanations(row.architecture, row.num_classes))


@lru_cache(4096)
def _explanations(architecture: str, num_classes: int) -> tuple[Availability, ...]:
    return tuple(explain.available(create_meta(architecture, num_classes=num_classes)))
