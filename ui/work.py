"""Run the engine's jobs from gradio's events: read photos, show progress, and cancel when nobody waits any more."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path

import gradio as gr

from engine import Answer, Engine, Event, Job, LocalEngine, Photo, Step

ENGINE: Engine = LocalEngine()


def read(paths: Iterable[str]) -> tuple[Photo, ...]:
    """Read uploaded files."""
    return tuple(Photo(Path(path).name, Path(path).read_bytes()) for path in paths)


async def run(job: Job, progress: gr.Progress) -> AsyncGenerator[Answer | None, None]:
    """Run a job: yield None at each event, then the answer. Raises engine.EngineError.

    A handler must yield at each None: only then gradio notices that the tab was closed or Stop pressed, and closes the
    handler, this generator and the engine's iterator, which ends the job.
    """
    async with aclosing(ENGINE.run(job)) as events:
        async for event in events:
            if isinstance(event, Answer):
                yield event
            else:
                tell(event, progress)
                yield None


def tell(event: Event, progress: gr.Progress) -> None:
    """Show the progress of a job."""
    if not isinstance(event, Step):
        progress(None, desc="Waiting for the device")
    elif event.doing == "Downloading":
        megabytes = max(event.done, event.total) / 1e6
        progress(event.done / event.total if event.total else 0.0, desc=f"Downloading {megabytes:.0f} MB")
    elif event.total == 0:
        progress(None, desc=event.doing)
    else:
        progress(event.done / event.total, desc=f"{event.doing}: {event.done} of {event.total}")
