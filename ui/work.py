"""The page's engine, what its events say to a person, and which of a visitor's jobs goes on."""

import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import cache

from gradio.context import LocalContext

import engine
from engine import Answer, Engine, Event, Job, Look, Looks, Photo, Request, Step, Waiting
from engine.records import usual_path
from engine.table import Line, lines, seen_here

_making = threading.Lock()


@cache
def _made() -> Engine:
    return engine.LocalEngine(records=usual_path())


def the_engine() -> Engine:
    """The engine of this page. It is made when it is first asked for: with it, torch is imported."""
    with _making:
        return _made()


def known_lines() -> list[Line]:
    """Every line of the table of models, with what this machine learned about it."""
    return seen_here(lines(), the_engine().seen())


def visitor() -> str | None:
    """Who asks: the session of the page or program whose event is handled, or the address of a program without one."""
    visit = LocalContext.request.get(None)
    if not visit:
        return None
    if visit.session_hash != LocalContext.event_id.get(None):  # which gradio takes for a session that was not given
        return visit.session_hash
    return visit.client.host if visit.client else None


async def answer(job: Job) -> Answer:
    """Run a job until its answer is there or who asked has left, which gradio tells only to what yields."""
    return await engine.answer(the_engine(), job, _listening)


async def looked(request: Request, photo: Photo) -> AsyncGenerator[Event | Look | str, None]:
    """Look at one photo: the engine's events, then the look, or the sentence that says why there is none."""
    try:
        async with aclosing(the_engine().run(Job("look", request, (photo,), visitor=visitor()))) as events:
            async for event in events:
                if isinstance(event, Looks):
                    yield event.photos[0]
                elif isinstance(event, Event):
                    yield event
    except engine.EngineError as error:
        yield str(error)


def _listening() -> bool:
    page, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    waiting = page._queue.event_ids_to_events.get(number) if page and number else None
    return waiting is None or waiting.alive


def doing(event: Event | Answer) -> tuple[str, float | None]:
    """What a job does, in words, and how far it is from 0 to 1, if that is known."""
    if isinstance(event, Waiting):
        first = {0: "", 1: ": one job goes first"}.get(event.ahead, f": {event.ahead} jobs go first")
        return f"Waiting for the device{first}", None
    assert isinstance(event, Step)
    if event.doing == "Downloading":
        megabytes = max(event.done, event.total) / 1e6
        return f"Downloading {megabytes:.0f} MB", event.done / event.total if event.total else None
    if event.total == 0:
        return event.doing, None
    return f"{event.doing}: {event.done} of {event.total}", event.done / event.total


class Newest:
    """Lets only the newest answer of each visitor go on.

    gradio's own cancelling loses sight of a job that began while another was being cancelled, so an older job also asks
    here, at each of its events, whether it is still wanted.
    """

    def __init__(self) -> None:
        self._of: dict[str | None, object] = {}

    @contextmanager
    def turn(self, visitor: str | None) -> Iterator[Callable[[], bool]]:
        """Become the newest job of a visitor; yields a function that tells whether it still is."""
        mine = self._of[visitor] = object()
        try:
            yield lambda: self._of.get(visitor) is mine
        finally:
            if self._of.get(visitor) is mine:
                del self._of[visitor]


NEWEST = Newest()
