"""The engine of this machine: jobs in threads, one at a time on the device."""

import asyncio
import contextvars
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import torch

import zoo
from engine.cache import Answers, Key
from engine.faithfulness import evaluate
from engine.jobs import (
    AT_ONCE,
    NO_PHOTO,
    PRECISIONS,
    USUAL,
    Answer,
    EngineError,
    Event,
    Job,
    Looks,
    Measured,
    Photo,
    Request,
    Seen,
    Step,
    StoppedError,
    Timing,
    Told,
    Waiting,
)
from engine.latency import machine
from engine.limit import Limit, allowed
from engine.look import Frame, frame, look
from engine.measure import check_setting, set_threads, time_model
from engine.records import MEMORY, Records
from engine.schedule import BEAT, Schedule
from engine.search import RANDOM, is_local, price, recipe
from engine.store import GIB, Store, give_back
from engine.ways import DTYPES, Ready, accelerated, check, compiled, noise
from engine.zerogpu import lent
from explain import ExplanationError
from zoo import Accelerated, accelerate
from zoo.base import Backbone
from zoo.catalogue import Checkpoint
from zoo.memory import shortage

OUT_OF_MEMORY = "There is not enough memory for this: take fewer photos at once, or choose a smaller model."
RANDOM_INSTEAD = "Its structure and its latency are available without them: choose random weights."
FAILED = "This failed unexpectedly, and the log says how: choose another model or explanation."
FULL = "Too many people ask at once: wait a minute, then press Classify again."
SECONDS = {"look": 30, "evaluate": 60, "time": 20}  # that each kind of job requests from ZeroGPU
DOING = {"look": "Looking", "evaluate": "Measuring", "time": "Timing"}
OPENERS = min(os.cpu_count() or 1, 4)  # threads that open the photos of a job: Pillow decodes and resizes side by side
PAUSE = 0.25  # least seconds between two steps of the same kind: each costs the page some milliseconds


def silent(event: Event) -> None:
    """Ignore an event."""


class LocalEngine:
    """Runs jobs on this machine: one computes at a time, and quick ones go first (schedule.py).

    Looks that were answered (cache.py) and models that were timed (records.py) are not computed again.
    """

    at_once = AT_ONCE

    def __init__(self, memory: int = 4 * GIB, records: str = MEMORY):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.store = Store(self._load, memory, _weight_bytes)
        self.answers = Answers()
        self.records = Records(records, machine(self.device))
        self.schedule = Schedule()
        self.seconds = allowed()
        self.threads = torch.get_num_threads()
        self._opening = threading.Lock()  # one job's photos are opened at a time
        self._jobs = 0
        self._lent = lent(self._alone, lambda job: SECONDS[job.kind])

    async def run(self, job: Job) -> AsyncGenerator[Event | Answer, None]:
        """Run a job in its own thread. Closing the iterator ends the job at its next step."""
        if self._jobs >= self.at_once:
            raise EngineError(FULL)
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
            finally:
                give_back()  # each job has its own thread, for which the C library would keep what was freed
            if not closed.is_set():
                loop.call_soon_threadsafe(found.put_nowait, last)

        self._jobs += 1
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
            self._jobs -= 1
            closed.set()

    def timed(self, request: Request) -> dict[str, Measured]:
        """The kept timings of a model in the precision that is asked for, by way; the last measured first."""
        return self.records.of(request)

    def seen(self) -> Seen:
        return self.records.seen()

    def perform(self, job: Job, told: Told = silent) -> Answer:
        """Run a job in this thread: fetch the weights, wait for the device, compute. Raises EngineError."""
        name, key = job.request.model, self.answers.key(job)
        with self._sentences():
            check(job.way, job.request.precision)
            check_setting(job, self.device)
            if job.kind != "time" and not job.photos:
                raise EngineError(NO_PHOTO)
            if known := self._known(job, key):
                return known
            if not is_local(name):  # a download does not hold the device
                zoo.download(name, lambda done, total: told(Step(done, total, "Downloading")))
                self.answers.forget(name)
            if self._lent is None or job.kind == "time":
                return self._in_turn(job, key, told)
            return self._keep(job, key, self._borrow(job))

    def _known(self, job: Job, key: Key | None) -> Answer | None:
        if job.kind == "time" and job.seconds is None:
            kept = self.records.of(job.request).get(job.way)
            return kept and kept.timing
        return self.answers.get(key)

    def _keep(self, job: Job, key: Key | None, found: Answer) -> Answer:
        if isinstance(found, Timing) and job.setting == USUAL:
            self.records.put(job.request, job.way, found)
        if isinstance(found, Looks):
            self.records.looked(job.request.model)
        self.answers.put(key, found)
        return found

    def _in_turn(self, job: Job, key: Key | None, told: Told) -> Answer:
        frames, ready = self._prepared(job, told) if self._lent is None else ([], None)
        with self.schedule.turn(job.priority, lambda ahead: told(Waiting(ahead)), job.visitor) as give_way:
            set_threads(self.threads)
            limit = Limit(self.seconds)

            def step(event: Event) -> None:
                told(event)
                limit.check()
                with limit.paused():
                    give_way()

            if known := self._known(job, key):  # the same was asked a moment before, and computed while this job waited
                return known
            told(Step(0, 0, DOING[job.kind]))
            return self._keep(job, key, self._borrow(job) if self._lent else self._compute(job, frames, ready, step))

    def _prepared(self, job: Job, told: Told) -> tuple[list[Frame | str], Ready | None]:
        """Open the photos, and load the model in the way that is asked for, which needs no turn on the device."""
        row = recipe(job.request.model)
        with self._opening:
            frames = _frames(job.photos, row, told)
        needed = job.kind == "time" or any(isinstance(frame, Frame) for frame in frames)
        return frames, self._ready(job, told) if needed else None

    def _ready(self, job: Job, told: Told) -> Ready:
        name, way, precision, setting = job.request.model, job.way, job.request.precision, job.setting
        model, exact = self.store.get(name), precision == PRECISIONS[0]
        if way == "plain" or job.kind == "evaluate" or (job.kind == "look" and exact):
            return Ready(model, "plain")
        sample = noise(model, setting.size or recipe(name).size, setting.batch)
        if way == "compiled":
            told(Step(0, 0, "Compiling"))
            return compiled(model, sample)
        told(Step(0, 0, "Accelerating"))
        if setting == USUAL:
            return accelerated(self.store.copy(name, precision, lambda it: accelerate(it, sample, DTYPES[precision])))
        return accelerated(accelerate(model, sample, DTYPES[precision]))  # for this job alone

    def _compute(self, job: Job, frames: list[Frame | str], ready: Ready | None, told: Told) -> Answer:
        if job.kind == "time":
            return time_model(ready or self._ready(job, told), job, told)
        good = [frame for frame in frames if isinstance(frame, Frame)]
        request = _renumbered(job.request, frames)

        def progress(done: int, total: int) -> None:
            told(Step(done, total, DOING[job.kind]))

        if job.kind == "evaluate" and good:
            return evaluate(self.store.get(request.model), request, good, progress)
        if job.kind == "evaluate":
            raise EngineError(NO_PHOTO)
        fast = ready.run if ready and isinstance(ready.run, Accelerated) else None
        looks = iter(look(self.store.get(request.model), request, good, progress, fast) if good else [])
        return Looks(tuple(frame if isinstance(frame, str) else next(looks) for frame in frames))

    def _alone(self, job: Job) -> Answer | EngineError:
        """Compute in the process that ZeroGPU starts: it cannot send events, and returns its error."""
        try:
            with self._sentences():
                row = recipe(job.request.model)
                return self._compute(job, _frames(job.photos, row, silent), self._ready(job, silent), silent)
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
        self.answers.forget(name)  # its file may be another one than when they were made
        if recipe(name).source != RANDOM:
            return zoo.load(name).to(self.device)
        if sentence := shortage(name, _weight_bytes(name)):
            raise EngineError(sentence)
        torch.manual_seed(0)
        return zoo.create(name).requires_grad_(False).to(self.device)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn every error into an EngineError: known ones with their own sentence, others are logged.

        If memory ran out, models and answers are dropped, which frees their memory for the next job.
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
                self.answers.clear()
                raise EngineError(OUT_OF_MEMORY) from error
            logging.getLogger(__name__).exception("A job failed.")
            raise EngineError(FAILED) from error


def _weight_bytes(name: str) -> int:
    return price(name).weight_bytes


def _is_out_of_memory(error: Exception) -> bool:
    """On a GPU, running out of memory has its own class of error; on a CPU, only a message."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _frames(photos: Sequence[Photo], row: Checkpoint, told: Told) -> list[Frame | str]:
    """Prepare photos side by side; the result is in their order. If `told` raises, no further one is begun."""
    frames = []
    with ThreadPoolExecutor(OPENERS) as pool:
        begun = [pool.submit(_framed, photo, row) for photo in photos]
        try:
            for i, one in enumerate(begun):
                told(Step(i, len(photos), "Opening photos"))
                frames.append(one.result())
        finally:
            pool.shutdown(cancel_futures=True)
    return frames


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
