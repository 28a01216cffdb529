"""The engine of this machine: jobs in threads, one at a time on the device."""

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

import zoo
from engine.faithfulness import evaluate
from engine.jobs import (
    NO_PHOTO,
    Answer,
    EngineError,
    Event,
    Job,
    Looks,
    Photo,
    Request,
    Step,
    StoppedError,
    Timing,
    Told,
    Waiting,
)
from engine.look import Frame, frame, look
from engine.measure import Timings, time_model
from engine.schedule import BEAT, Schedule
from engine.search import RANDOM, is_local, recipe
from engine.store import GIB, Store
from engine.zerogpu import lent
from explain import ExplanationError
from zoo.base import Backbone
from zoo.catalogue import Checkpoint
from zoo.cost import cost
from zoo.memory import shortage

OUT_OF_MEMORY = "The memory is too small for this: look at fewer photos at once, or choose a smaller model."
RANDOM_INSTEAD = "Its structure and its latency can be had all the same: choose random weights."
FAILED = "This failed in a way that was not foreseen, and the log says how: choose another model or explanation."
SECONDS = {"look": 30, "evaluate": 60, "time": 20}  # that a kind of job asks of ZeroGPU
DOING = {"look": "Looking", "evaluate": "Measuring", "time": "Timing"}
PAUSE = 0.25  # seconds between two steps of a kind, at least: each costs a page some milliseconds


def silent(event: Event) -> None:
    """Tell nobody."""


class LocalEngine:
    """Does jobs on this machine: any number may be brought, one computes, quick ones go first (schedule.py)."""

    at_once = 64

    def __init__(self, memory: int = 4 * GIB):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.store = Store(self._load, memory)
        self.timings = Timings()
        self.schedule = Schedule()
        self._lent = lent(self._alone, lambda job: SECONDS[job.kind])

    async def run(self, job: Job) -> AsyncGenerator[Event | Answer, None]:
        """Do a job in a thread of its own. Closing the iterator ends it at its next step."""
        loop, closed = asyncio.get_running_loop(), threading.Event()
        found: asyncio.Queue[Event | Answer | EngineError] = asyncio.Queue()
        said, due = "", 0.0

        def told(event: Event) -> None:
            nonlocal said, due
            if closed.is_set():
                raise StoppedError
            doing = event.doing if isinstance(event, Step) else ""
            if doing != said or time.monotonic() >= due:
                said, due = doing, time.monotonic() + PAUSE
                loop.call_soon_threadsafe(found.put_nowait, event)

        def work() -> None:
            try:
                last = self.perform(job, told)
            except EngineError as error:
                last = error
            except StoppedError:
                return
            if not closed.is_set():
                loop.call_soon_threadsafe(found.put_nowait, last)

        threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
        last: Event | Answer | EngineError = Waiting()
        try:
            while not isinstance(last, Answer):
                try:
                    last = await asyncio.wait_for(found.get(), BEAT)
                except asyncio.TimeoutError:  # a long step: say the last again, so that whoever listens can go
                    pass
                if isinstance(last, EngineError):
                    raise last
                yield last
        finally:
            closed.set()

    def perform(self, job: Job, told: Told = silent) -> Answer:
        """Do a job in this thread: have the weights here, wait for the device, compute. Raises EngineError."""
        name = job.request.model
        with self._sentences():
            if job.kind != "time" and not job.photos:
                raise EngineError(NO_PHOTO)
            if job.kind == "time" and job.seconds is None and (known := self.timings.get(name)):
                return known
            if not is_local(name):  # while it is fetched, others have the device
                zoo.download(name, lambda done, total: told(Step(done, total, "Downloading")))
            found = self._borrow(job) if self._lent else self._in_turn(job, told)
            if isinstance(found, Timing):
                self.timings.put(name, found)
            return found

    def _in_turn(self, job: Job, told: Told) -> Answer:
        with self.schedule.turn(job.slow, lambda: told(Waiting())) as give_way:

            def step(event: Event) -> None:
                told(event)
                give_way()

            told(Step(0, 0, DOING[job.kind]))
            return self._compute(job, step)

    def _compute(self, job: Job, told: Told) -> Answer:
        if job.kind == "time":
            return time_model(self.store.get(job.request.model), job.request.model, job.seconds, told)
        row = recipe(job.request.model)
        frames = [_framed(photo, row) for photo in job.photos]
        good = [frame for frame in frames if isinstance(frame, Frame)]
        request = _renumbered(job.request, frames)

        def progress(done: int, total: int) -> None:
            told(Step(done, total, DOING[job.kind]))

        if job.kind == "evaluate" and good:
            return evaluate(self.store.get(request.model), request, good, progress)
        if job.kind == "evaluate":
            raise EngineError(NO_PHOTO)
        looks = iter(look(self.store.get(request.model), request, good, progress) if good else [])
        return Looks(tuple(frame if isinstance(frame, str) else next(looks) for frame in frames))

    def _alone(self, job: Job) -> Answer | EngineError:
        """Compute in the process that ZeroGPU makes: no step and no error's sentence comes out of there."""
        try:
            with self._sentences():
                return self._compute(job, silent)
        except EngineError as error:
            return error

    def _borrow(self, job: Job) -> Answer:
        assert self._lent
        try:
            found = self._lent(job)
        except Exception as error:  # the platform's own sentence, as of a day's share that is spent
            raise EngineError(str(error.args[0] if error.args else error)) from error
        if isinstance(found, EngineError):
            raise found
        return found

    def _load(self, name: str) -> Backbone:
        if recipe(name).source != RANDOM:
            return zoo.load(name).to(self.device)
        if sentence := shortage(name, cost(name).weight_bytes):
            raise EngineError(sentence)
        torch.manual_seed(0)
        return zoo.create(name).requires_grad_(False).to(self.device)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Whatever goes wrong becomes an EngineError: what is known in its own sentence, what is not with a log.

        Where memory ran out, the models that are kept are given up: the next job has their room.
        """
        try:
            yield
        except (EngineError, StoppedError):
            raise
        except ExplanationError as error:
            raise EngineError(str(error)) from error
        except zoo.WeightsError as error:
            raise EngineError(f"{error} {RANDOM_INSTEAD}") from error
        except Exception as error:
            if _is_out_of_memory(error):
                self.store.clear()
                raise EngineError(OUT_OF_MEMORY) from error
            logging.getLogger(__name__).exception("A job failed.")
            raise EngineError(FAILED) from error


def _is_out_of_memory(error: Exception) -> bool:
    """On a GPU it has a class of its own, on a CPU only words."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _framed(photo: Photo, row: Checkpoint) -> Frame | str:
    """A photo ready to be looked at, or the sentence that says why it cannot be read."""
    try:
        return frame(photo, row)
    except zoo.PhotoError as error:
        return str(error)


def _renumbered(request: Request, frames: list[Frame | str]) -> Request:
    """A click counts all photos, the work on them only those that can be read."""
    if request.clicked is None:
        return request
    number, place = request.clicked
    return replace(request, clicked=(sum(isinstance(frame, Frame) for frame in frames[:number]), place))
