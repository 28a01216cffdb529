"""The engine's input and output: names, numbers and bytes, independent of any one machine.

A Job goes in; events come out while it waits and runs, and finally its Answer. All of these can be pickled, so the
engine may run in this process or on other machines.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from engine.schedule import Priority
from engine.timing import Timing as Timing
from explain import METHODS
from explain.evaluation import Evaluation as Evaluation
from explain.render import Placement
from zoo.catalogue import Priced
from zoo.cells import Cells

Place = tuple[float, float]  # in a photo: down and across, each from 0 to 1

PRECISIONS = ("float32", "bfloat16")
AT_ONCE = 64  # jobs that an engine accepts at the same time; it decides itself which of them compute
WAYS = ("fast", "plain", "compiled")  # accelerated by zoo, as it is written, compiled by PyTorch

NO_PHOTO = "There is no photo yet: upload one, paste one, or take an example."


class EngineError(ValueError):
    """A job cannot be done; the message is one sentence for the person who asked. An engine raises no other error."""


class StoppedError(Exception):
    """A `Told` raises this to end its job, because nobody waits for the answer any more."""


class Photo(NamedTuple):
    """An uploaded file."""

    name: str
    data: bytes


class Encoded(NamedTuple):
    """An image that a browser can show."""

    kind: str  # as in image/KIND
    data: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Request:
    """What to do with photos. Classes are as a person types them; blank means each photo's first guess."""

    model: str
    method: str = "grad_cam"  # blank for no explanation
    target: str = ""
    contrast: str = ""
    layer: str = ""  # number of an attention layer, or name of a tap; blank for the last, or for where the head reads
    head: int = -1  # of that layer; -1 for the mean of all
    signed: bool = False  # also draw evidence against the class
    precision: str = "float32"  # of the guesses: one of PRECISIONS
    together: bool = False  # all photos share one colour scale and one basis of features
    clicked: tuple[int, Place] | None = None  # number of a photo, and the place in it to ask about


@dataclass(frozen=True)
class Setting:
    """In what a timing differs from the usual one: an image of the checkpoint's own size, with all threads."""

    batch: int = 1
    size: tuple[int, int] | None = None  # height and width in pixels
    threads: int | None = None  # on a CPU


USUAL = Setting()


@dataclass(frozen=True)
class Job:
    """Classify and explain photos, evaluate a method on them, or time the model."""

    kind: Literal["look", "evaluate", "time"]
    request: Request
    photos: tuple[Photo, ...] = ()
    way: str = "fast"  # of running the model that is timed: one of WAYS
    seconds: float | None = None  # how long to time it; None: when the device is idle, and once for all who ask
    setting: Setting = USUAL  # of the timing
    visitor: str | None = None  # who asks, if that is known: of a visitor's slow jobs, one computes at a time

    @property
    def priority(self) -> Priority:
        """Which other jobs it lets go first."""
        if self.kind == "time" and self.seconds is None:
            return Priority.IDLE
        method = METHODS.get(self.request.method)
        return Priority.SLOW if self.kind != "look" or (method and method.slow) else Priority.QUICK


@dataclass(frozen=True)
class Waiting:
    """Another job has the device; sent about once a second."""

    ahead: int = 0  # jobs that go first; 0 while that is not known


@dataclass(frozen=True)
class Step:
    """Progress of a job."""

    done: int
    total: int  # 0 while unknown
    doing: str  # for "Downloading", done and total are bytes


Event = Waiting | Step
Told = Callable[[Event], None]  # receives events; may raise StoppedError


@dataclass(frozen=True)
class Guess:
    """One class and the probability that the model gives it."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Measured:
    """A timing that was kept."""

    timing: Timing
    age_s: float  # seconds since it was measured


@dataclass(frozen=True)
class Seen:
    """What this machine learned about models."""

    ms: Mapping[Priced, float]  # of the accelerated model, one image in float32
    looks: Mapping[str, int]  # times that a model was looked at, by name


@dataclass(frozen=True)
class Map:
    """Where a model looked in one photo: a drawing, and the values."""

    layer: Encoded  # to lay over the photo
    values: np.ndarray  # (h, w), or (3, h, w) for features: signed, not rescaled
    signed: bool  # whether evidence against is drawn
    facts: dict[str, Any]  # from explain.export
    target: str | None  # the class that it explains
    place: str  # where in the model it was computed, and its grid: "stage3, 14 x 14"
    low: float | None  # values of the two ends of the colour scale; None for features
    high: float | None
    cells: Cells  # where the values look in what the model saw
    placement: Placement  # of that on `photo` of the look


@dataclass(frozen=True)
class Look:
    """What a model says about one photo."""

    photo: Encoded  # small enough for the page
    seen: Encoded  # exactly what the model saw
    crop: str  # which part of the photo that is, in one line
    guesses: list[Guess]  # up to 20, best first; empty if the outputs have no names or the weights are random
    probabilities: np.ndarray | None  # of all classes, float32; None where there are no guesses
    map: Map | None
    asking: Place | None  # the place in the photo that the map asks about
    notes: list[str]


@dataclass(frozen=True)
class Looks:
    """The answer to a look."""

    photos: tuple[Look | str, ...]  # one per photo, in order; for an unreadable photo, the sentence that says why


Answer = Looks | Evaluation | Timing  # to a look, an evaluation, a timing


class Engine(Protocol):
    """Runs jobs, on this machine or elsewhere."""

    at_once: int  # jobs that it accepts at the same time; the engine itself decides which of them compute

    def run(self, job: Job) -> AsyncGenerator[Event | Answer, None]:
        """Run a job: yield events, at least one every second or two, then the answer.

        Closing the iterator (`aclose`) cancels the job. Raises only EngineError.
        """
        ...

    def timed(self, request: Request) -> dict[str, Measured]:
        """The kept timings of a model in the precision that is asked for, by way; the last measured first."""
        ...

    def seen(self) -> Seen:
        """What is known about models by having run them."""
        ...


async def answer(engine: Engine, job: Job, wanted: Callable[[], bool] = lambda: True) -> Answer:
    """Run a job and ignore its events; it is cancelled as soon as nobody wants its answer any more."""
    async with aclosing(engine.run(job)) as events:
        async for event in events:
            if isinstance(event, Answer):
                return event
            if not wanted():
                break
    raise EngineError("The engine gave no answer: try again.")
