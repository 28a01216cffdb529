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

OUT_OF_MEMORY = "There is not enough memory for this: take fewer photos at once, or choose a smaller model."
RANDOM_INSTEAD = "Its structure and its latency are available without them: choose random weights."
FAILED = "This failed unexpectedly, and the log says how: choose another model or explanation."
SECONDS = {"look": 30, "evaluate": 60, "time": 20}  # that each kind of job requests from ZeroGPU
DOING = {"look": "Looking", "evaluate": "Measuring", "time": "Timing"}
PAUSE = 0.25  # least seconds between two steps of the same kind: each costs the page some milliseconds


def silent(event: Event) -> None:
    """Ignore an event."""


class LocalEngine:
    """Runs jobs on this machine: one computes at a time, and quick ones go first (schedule.py)."""

    at_once = 64

    def __init__(self, memory: int = 4 * GIB):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.store = Store(self._load, memory)
        self.timings = Timings()
        self.schedule = Schedule()
        self._lent = lent(self._alone, lambda job: SECONDS[job.kind])

    async def run(self, job: Job) -> AsyncGenerator[Event | Answer, None]:
        """Run a job in its own thread. Closing the iterator ends the job at its next step."""
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
                except asyncio.TimeoutError:
                    pass  # a long step: the last event is repeated, so that a listener has a chance to leave
                if isinstance(last, EngineError):
                    raise last
                yield last
        finally:
            closed.set()

    def perform(self, job: Job, told: Told = silent) -> Answer:
        """Run a job in this thread: fetch the weights, wait for the device, compute. Raises EngineError."""
        name = job.request.model
        with self._sentences():
            if job.kind != "time" and not job.photos:
                raise EngineError(NO_PHOTO)
            if job.kind == "time" and job.seconds is None and (known := self.timings.get(name)):
                return known
            if not is_local(name):  # a download does not hold the device
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
        """Compute in the process that ZeroGPU starts: it cannot send events, and returns its error."""
        try:
            with self._sentences():
                return self._compute(job, silent)
        except EngineError as error:
            return error

    def _borrow(self, job: Job) -> Answer:
        assert self._lent
        try:
            found = self._lent(job)
        except Exception as error:  # the platform's own sentence, for example that the daily quota is used up
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
        """Turn every error into an EngineError: known ones with their own sentence, others are logged.

        If memory ran out, the stored models are dropped, which frees their memory for the next job.
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
    """On a GPU, running out of memory has its own class of error; on a CPU, only a message."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _framed(photo: Photo, row: Checkpoint) -> Frame | str:
    """A prepared photo, or the sentence that says why it cannot be read."""
    try:
        return frame(photo, row)
    except zoo.PhotoError as error:
        return str(error)


def _renumbered(request: Request, frames: list[Frame | str]) -> Request:
    """Translate a click's photo number, which counts all photos, to a number among those that can be read."""
    if request.clicked is None:
        return request
    number, place = request.clicked
    return replace(request, clicked=(sum(isinstance(frame, Frame) for frame in frames[:number]), place))
