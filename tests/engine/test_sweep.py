"""Timings while one thing is varied: each setting reaches the model, and the method agrees with PyTorch's own."""

import csv
import io
import os
import re
import statistics
import time

import pytest
import torch
from torch import nn
from torch.utils.benchmark import Timer

from engine import EngineError, Job, Request, Setting, sweep
from engine.footprint import peak_bytes
from engine.latency import measure
from tests.engine.jobs import ENGINE

NAME = "resnet9_cifar"


class Watched(nn.Module):
    """Notes the threads that its passes use."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.zeros(1)), set()
        self.eval()

    def forward(self, x):
        self.seen.add(torch.get_num_threads())
        return x


class Sleeper(nn.Module):
    """Each pass takes 10 ms."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        time.sleep(0.01)
        return x


def timed(setting, way="plain", precision="float32", model=NAME):
    return ENGINE.perform(Job("time", Request(model, precision=precision), way=way, seconds=0.05, setting=setting))


def test_the_batch_the_size_and_the_format_reach_the_model():
    found = [timed(Setting(batch=3)), timed(Setting(size=(48, 64))), timed(Setting(), "fast", "bfloat16")]
    assert [(t.batch, t.height, t.width, t.dtype) for t in found] == [
        (3, 32, 32, "float32"), (1, 48, 64, "float32"), (1, 32, 32, "bfloat16"),
    ]  # fmt: skip
    assert timed(Setting(batch=2), "fast").way == "fast"


def test_threads_hold_for_the_passes_alone():
    before, model = torch.get_num_threads(), Watched()
    other = 2 if before == 1 else 1
    timing = measure(model, (4, 4), seconds=0.01, min_runs=3, max_runs=3, threads=other)
    assert model.seen == {other} and timing.threads == other
    assert torch.get_num_threads() == before


def test_a_timing_in_another_setting_is_not_kept_as_the_models_own():
    timed(Setting(batch=2), model="resnet56_cifar")
    assert ENGINE.timed(Request("resnet56_cifar")) == {}
    timed(Setting(), model="resnet56_cifar")
    assert list(ENGINE.timed(Request("resnet56_cifar"))) == ["plain"]


@pytest.mark.parametrize(
    ("setting", "model", "sentence"),
    [
        (Setting(batch=0), NAME, "1 to 256 images"),
        (Setting(batch=257), NAME, "1 to 256 images"),
        (Setting(threads=0), NAME, f"1 to {os.cpu_count()} threads"),
        (Setting(threads=10**4), NAME, f"1 to {os.cpu_count()} threads"),
        (Setting(size=(1025, 32)), NAME, "at most 1024 pixels"),
        (Setting(size=(20, 20)), "vit_tiny_patch16_224", "An image of 20x20 cannot be cut into patches of 16x16"),
        (Setting(batch=256), "resnet152", "choose a smaller batch"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_is_loaded(setting, model, sentence):
    held = set(ENGINE.store.models)
    with pytest.raises(EngineError, match=re.escape(sentence)):
        timed(setting, model=model)
    assert set(ENGINE.store.models) == held


def test_a_batch_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("zoo.memory.available_memory", lambda: 10**6)
    with pytest.raises(EngineError, match="are free: choose a smaller batch, image or model"):
        timed(Setting(batch=2))


def test_the_peak_is_that_of_known_tensors():
    """Two layers of 1x1 convolutions: at most their input and output are held beside the weights and the image."""
    model = nn.Sequential(nn.Conv2d(3, 100, 1, bias=False), nn.Conv2d(100, 50, 1, bias=False)).eval()
    weights, image, first, second = 4 * (300 + 5000), 4 * 3 * 64, 4 * 100 * 64, 4 * 50 * 64
    found = peak_bytes(model, torch.zeros(1, 3, 8, 8))
    assert found >= weights + image + first + second
    assert found <= weights + image + first + second + 4 * 5000 + first  # a kernel may lay out weights or input anew


def test_times_agree_with_those_of_pytorchs_own_benchmark():
    """Of a model that takes 10 ms by the clock, whatever else runs: both count the same part of a pass."""
    model = Sleeper().eval()
    timer = Timer("model(x)", globals={"model": model, "x": torch.zeros(2, 3, 4, 4)}, num_threads=1)
    ours = measure(model, (4, 4), batch=2, seconds=10, min_runs=20, max_runs=20).median_ms
    theirs = 1000 * statistics.median(timer.timeit(1).median for _ in range(20))
    assert ours == pytest.approx(theirs, rel=0.05)


def test_points_and_what_is_typed():
    assert [point.label for point in sweep.points("batch", [8, 1, 8])] == ["1", "8"]
    assert [point.setting.size for point in sweep.points("image", [])][:2] == [(160, 160), (192, 192)]
    assert [point.setting.threads for point in sweep.points("threads", [])][-1] == os.cpu_count()
    assert [(p.way, p.precision) for p in sweep.points("format", [1])] == list(sweep.FORMATS.values())
    assert sweep.numbers(" 1, 2;4  8 ") == [1, 2, 4, 8] and sweep.numbers("") == []
    for refused in (lambda: sweep.numbers("1, two"), lambda: sweep.points("colour", []), lambda: sweep.numbers("-1")):
        with pytest.raises(EngineError):
            refused()
    with pytest.raises(EngineError, match="At most 12 values"):
        sweep.points("batch", list(range(1, 14)))


def test_the_file_has_a_row_for_each_point_and_says_what_failed():
    points = sweep.points("batch", [1, 2])
    timing = timed(Setting())
    text = sweep.sweep_csv("batch", [(NAME, points[0], timing), (NAME, points[1], "No.")])
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["model"], first["value"], float(first["median ms"])) == (NAME, "1", timing.median_ms)
    assert float(first["peak MB"]) == timing.peak_bytes / 1e6 and first["problem"] == ""
    assert (second["value"], second["median ms"], second["problem"]) == ("2", "", "No.")
