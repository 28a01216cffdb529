"""What goes in at the engine's door, and what comes out: names, numbers and bytes, nothing of one machine.

A Job goes in; while it waits and runs, events come out, and last its Answer. All of it can be pickled, so the engine
may be in this process or on other machines.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from engine.latency import Timing as Timing
from explain import METHODS
from explain.faithfulness import Evaluation as Evaluation

Place = tuple[float, float]  # in a photo: down and across, from 0 to 1

NO_PHOTO = "There is no photo yet: upload one, paste one, or take an example."


class EngineError(ValueError):
    """A job that cannot be done; the message is one sentence for the person who asked. The only error of an engine."""


class StoppedError(Exception):
    """What a `Told` raises to end its job: nobody waits for the answer any more."""


class Photo(NamedTuple):
    """A file as it was uploaded."""

    name: str
    data: bytes


class Encoded(NamedTuple):
    """An image as a browser takes it."""

    kind: str  # as in image/KIND
    data: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Request:
    """How photos are to be looked at. Classes are given as a person types them; blank: each photo's first guess."""

    model: str
    method: str = "grad_cam"
    target: str = ""
    contrast: str = ""
    layer: str = ""  # number of an attention layer, or name of a tap; blank: the last, or where the head reads
    head: int = -1  # of that layer; -1: the mean of all
    signed: bool = False  # draw what speaks against, too
    together: bool = False  # one colour scale, and one basis of features, for all photos
    clicked: tuple[int, Place] | None = None  # number of a photo, and the place in it that is asked about


@dataclass(frozen=True)
class Job:
    """Look at photos, evaluate a method on them, or time the model."""

    kind: Literal["look", "evaluate", "time"]
    request: Request
    photos: tuple[Photo, ...] = ()
    seconds: float | None = None  # to measure for; None: a short time, unless the last hour's timing is still known

    @property
    def slow(self) -> bool:
        """Whether it lets quick jobs go first, between its steps."""
        method = METHODS.get(self.request.method)
        return self.kind != "look" or (method is not None and method.slow)


@dataclass(frozen=True)
class Waiting:
    """Others have the device; told about once a second."""


@dataclass(frozen=True)
class Step:
    """How far a job is."""

    done: int
    total: int  # 0: not known yet
    doing: str  # "Downloading" counts bytes


Event = Waiting | Step
Told = Callable[[Event], None]  # may raise StoppedError


@dataclass(frozen=True)
class Guess:
    """One class and the probability that the model gives it."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Map:
    """Where a model looked in one photo: drawn, and as it is."""

    layer: Encoded  # to lay over the photo
    values: np.ndarray  # (h, w), or (3, h, w) where it is of features: signed, not stretched
    facts: dict[str, Any]  # of explain.export
    target: str | None  # the class that it is for
    top: float | None  # the value that has the last colour


@dataclass(frozen=True)
class Look:
    """What a model made of one photo."""

    photo: Encoded  # small enough for a page
    seen: Encoded  # exactly what the model was shown
    guesses: list[Guess]  # best first; empty if the outputs have no names and no trained weights
    map: Map | None
    asking: Place | None  # the place in the photo whose features, or whose patch, the map is about
    notes: list[str]


@dataclass(frozen=True)
class Looks:
    """The answer to a look."""

    photos: tuple[
        Look | str, ...
    ]  # one a photo, in their order; where it could not be read, the sentence that says why


Answer = Looks | Evaluation | Timing  # to a look, an evaluation, a timing


class Engine(Protocol):
    """Does jobs: on this machine, or elsewhere."""

    at_once: int  # jobs that may be brought at the same time; which of them compute, the engine itself says

    def run(self, job: Job) -> AsyncGenerator[Event | Answer, None]:
        """Do a job: events, at least one in a second or two, then the answer.

        Closing the iterator (`aclose`) cancels the job. Raises EngineError alone.
        """
        ...


async def answer(engine: Engine, job: Job) -> Answer:
    """Do a job and tell nobody how far it is."""
    async with aclosing(engine.run(job)) as events:
        async for event in events:
            if isinstance(event, Answer):
                return event
    raise EngineError("No answer came: ask again.")
