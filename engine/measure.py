"""Time a model in the setting that a job asks for, and say how much memory it takes."""

import os
from dataclasses import replace

import torch

from engine.footprint import peak_bytes
from engine.jobs import USUAL, EngineError, Job, Step, Timing, Told
from engine.latency import measure
from engine.search import recipe
from engine.ways import Ready, noise
from zoo.cost import Cost, cost
from zoo.memory import shortage

SHORT = 1.5  # default seconds of measuring
MOST_IMAGES, MOST_PIXELS = 256, 1024  # in a batch; of a side
MOST_MACS = 10**12  # of one pass on a CPU: a few seconds, in which nobody else gets an answer
FLOAT = 4  # bytes
INSTEAD = "a smaller batch, image or model"
TOO_LONG = "One pass would take {:,.0f} G multiply-adds, and a CPU does {:,.0f} G at most here: choose a smaller batch."


def check_setting(job: Job, device: torch.device) -> None:
    """Raise EngineError for a setting that a model cannot be timed in, before anything is loaded."""
    setting, row, cores = job.setting, recipe(job.request.model), os.cpu_count() or 1
    on_cpu = device.type == "cpu"
    if setting == USUAL:
        return
    if not 1 <= setting.batch <= MOST_IMAGES:
        raise EngineError(f"A batch has 1 to {MOST_IMAGES} images.")
    if setting.threads is not None and not on_cpu:
        raise EngineError("Threads are those of a CPU, and models run on a GPU here.")
    if setting.threads is not None and not 1 <= setting.threads <= cores:
        raise EngineError(f"This machine has {cores} cores: choose 1 to {cores} threads.")
    if setting.size and not 1 <= max(setting.size) <= MOST_PIXELS:
        raise EngineError(f"A side of the image has at most {MOST_PIXELS} pixels here.")
    try:
        price = cost(row.architecture, setting.size or row.size, row.num_classes)
    except ValueError as error:
        raise EngineError(str(error)) from error
    if not on_cpu:
        return
    if setting.batch * price.macs > MOST_MACS:
        raise EngineError(TOO_LONG.format(setting.batch * price.macs / 1e9, MOST_MACS / 1e9))
    if sentence := shortage(row.name, _most_bytes(price, setting.batch), INSTEAD):
        raise EngineError(sentence)


def _most_bytes(price: Cost, batch: int) -> int:
    """Bytes of two copies of the weights, and of a batch's activations, as if none were freed during the pass."""
    return 2 * price.weight_bytes + FLOAT * batch * price.activations


def time_model(ready: Ready, job: Job, told: Told) -> Timing:
    """Time the forward pass; the time that `told` takes is not counted. Memory is measured where seconds are given."""
    setting, usual = job.setting, recipe(job.request.model).size
    size = setting.size or usual

    def progress(share: float) -> None:
        told(Step(round(100 * share), 100, "Timing"))

    seconds = job.seconds or SHORT
    timing = measure(ready.run, size, batch=setting.batch, seconds=seconds, progress=progress, threads=setting.threads)
    peak = None if job.seconds is None else peak_bytes(ready.run, noise(ready.run, size, setting.batch))
    return replace(
        timing,
        peak_bytes=peak,
        way=ready.way,
        prepared_s=ready.prepared_s,
        change=ready.change,
        reach=ready.reach,
        note=ready.note,
    )


def set_threads(count: int) -> None:
    """Use so many threads for a job: a timing may just have used fewer, which new threads of Python's would inherit."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
