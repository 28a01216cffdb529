"""The statistics, the time budget and the wording of a timing, but not how fast this machine is."""

import platform
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from engine.latency import device_name, measure, percentile, summary
from engine.timing import Timing
from tests.engine.jobs import TIMING


class Clock:
    """A clock that moves only while a Model runs."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Model(nn.Module):
    """Each pass takes the given seconds of the clock; the last figure repeats."""

    def __init__(self, clock: Clock, *seconds: float):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.clock, self.seconds, self.calls = clock, seconds, 0
        self.eval()

    def forward(self, x):
        assert torch.is_inference_mode_enabled()
        self.clock.now += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.calls += 1
        self.shape = tuple(x.shape)
        return x


def timed(*seconds: float, **options) -> tuple[Timing, Model]:
    clock = Clock()
    model = Model(clock, *seconds)
    return measure(model, (4, 6), clock=clock, **options), model


@pytest.mark.parametrize(
    ("times", "p10", "median", "p90", "p99"),
    [
        ([7], 7, 7, 7, 7),
        ([2, 1], 1, 1.5, 2, 2),
        (range(1, 11), 1, 5.5, 9, 10),
        (range(100, 0, -1), 10, 50.5, 90, 99),
        ([1] * 9 + [1000], 1, 1, 1, 1000),  # one outlier in ten moves neither the median nor the 90th percentile
        ([1] * 8 + [1000] * 2, 1, 1, 1000, 1000),
    ],
)
def test_summary(times, p10, median, p90, p99):
    assert summary(list(times)) == (median, p90)
    assert [percentile(list(times), share) for share in (10, 90, 99)] == [p10, p90, p99]


def test_figures_of_known_times():
    timing, model = timed(9.0, 0.5, 0.25, *[0.125] * 5, *[0.25] * 5, seconds=60, min_runs=10, max_runs=10)
    assert (timing.first_ms, timing.median_ms, timing.p90_ms) == (9000, 187.5, 250)
    assert (timing.warmups, timing.n, model.calls) == (3, 10, 13)


def test_batch_and_size_reach_the_model():
    timing, model = timed(0.5, seconds=1, batch=2)
    assert model.shape == (2, 3, 4, 6)
    assert (timing.batch, timing.height, timing.width) == (2, 4, 6)
    assert timing.images_per_second == 4


@pytest.mark.parametrize(
    ("pass_seconds", "warmups", "n"),
    [
        (1 / 1024, 3, 400),  # fast: reaches the most runs
        (1 / 64, 3, 189),  # 3 seconds are 192 passes
        (1 / 8, 3, 40),  # the least runs, in less than five times 3 seconds
        (1 / 2, 3, 27),  # five times 3 seconds are 30 passes
        (4.0, 1, 2),  # 12 seconds; a fourth pass would be past 15
        (100.0, 1, 1),  # always one of each
    ],
)
def test_budget(pass_seconds, warmups, n):
    timing, _ = timed(pass_seconds)
    assert (timing.warmups, timing.n) == (warmups, n)


@pytest.mark.parametrize(("after", "warmups", "n"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (9, 3, 6)])
def test_stop(after, warmups, n):
    clock = Clock()
    model = Model(clock, 1 / 64)
    timing = measure(model, (4, 6), clock=clock, stop=lambda: model.calls >= after)
    assert (timing.warmups, timing.n) == (warmups, n)


@pytest.mark.parametrize("pass_seconds", [1 / 1024, 1 / 64, 1 / 8, 1.0])
def test_progress_rises_to_its_end(pass_seconds):
    shares = []
    timed(pass_seconds, progress=shares.append)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.2
    assert 0.9 <= shares[-1] <= 1


def test_what_is_done_between_passes_is_not_counted_nor_is_the_cold_pass_after_it():
    """Another job takes the device for 3 s after the second pass; the next pass then takes 1 s in place of 1/64 s."""
    clock = Clock()
    model = Model(clock, *[1 / 64] * 5, 1.0, 1 / 64)

    def give_way(share):
        if model.calls == 5:
            clock.now += 3.0

    timing = measure(model, (4, 6), seconds=2.0, clock=clock, progress=give_way)
    assert timing.p90_ms == 1000 / 64
    assert (timing.warmups, timing.n) == (3, 64 * 2 - 3 - 64)  # the cold pass takes its 1 s of the 2


def test_every_step_that_gives_way_counts_a_pass():
    clock = Clock()
    model = Model(clock, 1 / 64)

    def give_way(share):
        clock.now += 3.0

    timing = measure(model, (4, 6), seconds=1.0, min_runs=10, clock=clock, progress=give_way)
    assert timing.n >= 10
    assert model.calls == timing.warmups + 2 * timing.n


@pytest.mark.parametrize(("p90", "busy"), [(70.0, False), (102.0, False), (103.0, True)])
def test_a_busy_machine_is_told(p90, busy):
    timing = replace(TIMING, p90_ms=p90)
    assert timing.busy is busy
    assert ("busy" in timing.sentence()) is busy


def test_a_real_model():
    timing = measure(nn.Conv2d(3, 1, 3).eval(), (32, 32), max_runs=60)
    assert 40 <= timing.n <= 60
    assert 0 < timing.median_ms <= timing.p90_ms
    assert (timing.dtype, timing.threads, timing.warmups) == ("float32", torch.get_num_threads(), 3)


def test_dtype_is_the_models():
    model = nn.Conv2d(3, 1, 1).eval().to(torch.bfloat16)
    assert measure(model, (8, 8), seconds=0.01, min_runs=1).dtype == "bfloat16"


def test_timing_does_not_change_the_random_state():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    timed(0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_sentence():
    assert TIMING.sentence() == (
        "AMD EPYC, 2 threads, float32, as it is written, batch 1, 224x224: median 68.2 ms, p90 70.1 ms of 100 runs "
        "after 3 warm-ups; the model's forward alone, preprocessing left out"
    )
    fast = replace(TIMING, way="fast", prepared_s=0.42, change=4.3e-6, reach=9.31, note=", 16 layers left as they were")
    assert (
        "float32, accelerated in 0.4 s (no output moves by more than 4e-06; the largest is 9), "
        "16 layers left as they were, batch 1"
    ) in fast.sentence()
    assert "torch.compile, which took 34 s, batch" in replace(TIMING, way="compiled", prepared_s=33.7).sentence()
    gpu = Timing("NVIDIA H200", "float16", 8, 64, 32, None, 1, 1, 0.01234, 0.01, 1234.5, 1234.5, 2000)
    assert gpu.sentence().startswith(
        "NVIDIA H200, float16, as it is written, batch 8, 64x32: "
        "median 0.0123 ms, p90 1234 ms of 1 run after 1 warm-up; "
    )


def test_device_names(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert device_name(cuda) == "NVIDIA H200"
    own = device_name(cpu)
    assert own
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert device_name(cuda) == "NVIDIA H200, shared slice (ZeroGPU)"
    assert device_name(cpu) == own


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some(R)  CPU: 2 GHz\nmodel name\t: other\n", "Some(R) CPU: 2 GHz"),
        ("processor\t: 0\nCPU architecture: 8\n", "aarch64"),
        (None, "aarch64"),
    ],
)
def test_name_of_the_cpu(monkeypatch, cpuinfo, name):
    def read_text(path):
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert device_name(torch.device("cpu")) == name


def test_waits_for_the_device_around_each_pass(monkeypatch):
    course = []
    monkeypatch.setattr("engine.latency._synchronise", lambda device: course.append("wait"))
    model = nn.Conv2d(3, 1, 1).eval()
    model.register_forward_hook(lambda *_: course.append("pass"))
    timing = measure(model, (4, 4), seconds=1e-9, min_runs=1)
    assert course == ["wait", "pass", "wait"] * (timing.warmups + timing.n)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu():
    timing = measure(zoo.create("resnet20_cifar").cuda(), (32, 32), seconds=0.5)
    assert timing.threads is None
    assert timing.device.startswith(torch.cuda.get_device_name())


def test_refusals():
    with pytest.raises(ValueError, match="eval mode"):
        measure(nn.Conv2d(3, 1, 1), (4, 4))
    with torch.device("meta"):
        model = nn.Conv2d(3, 1, 1).eval()
    with pytest.raises(ValueError, match="weights in place"):
        measure(model, (4, 4))
    with pytest.raises(ValueError, match="greater than zero"):
        measure(model, (4, 4), seconds=0)
