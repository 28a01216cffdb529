"""Jobs of the local engine: bytes in, bytes out; cancellation, refusals and events."""

import asyncio
import io
import json
import pickle
import threading
import time
import zipfile
from contextlib import aclosing

import numpy as np
import pytest
import torch
from PIL import Image

import engine
import explain
import zoo
from engine import Answer, EngineError, Job, LocalEngine, Looks, Photo, Request, Step, Waiting, images, local, zerogpu
from engine.jobs import StoppedError
from tests.engine.jobs import ENGINE, RED, look, photo, time_it
from zoo.preprocess import preprocess, seen

BROKEN = Photo("broken.jpg", b"this is no photo")
SLOW = Job("look", Request("resnet20_cifar", "integrated_gradients"), (photo(RED),))
QUICK = Job("look", Request("resnet20_cifar"), (photo(RED),))
BEST = next(name for name, row in zoo.checkpoints().items() if row.bundled)


def events(ran, job):
    async def collect():
        return [event async for event in ran.run(job)]

    return asyncio.run(collect())


def test_the_answer_is_what_explain_and_the_zoo_give():
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    (found,) = look(Request(BEST), [image])
    row, model = zoo.checkpoint(BEST), zoo.load(BEST)
    x = preprocess(image, row)[None]
    shares, classes = model(x).softmax(1)[0].topk(5)
    assert [guess.index for guess in found.guesses] == classes.tolist()
    assert [guess.probability for guess in found.guesses] == pytest.approx(shares.tolist(), abs=1e-6)
    assert torch.allclose(torch.from_numpy(found.map.values), explain.explain(model, x, "grad_cam").raw[0], atol=1e-6)
    assert images.decode(found.seen).convert("RGB").tobytes() == seen(image, row).tobytes()


def test_jobs_events_answers_and_errors_can_be_pickled():
    jobs = [QUICK, SLOW, Job("evaluate", QUICK.request, QUICK.photos), Job("time", QUICK.request, seconds=0.1)]
    for job in jobs:
        there = pickle.loads(pickle.dumps(job))
        assert there == job
        answer = ENGINE.perform(there)
        assert isinstance(answer, Answer)
        assert type(pickle.loads(pickle.dumps(answer))) is type(answer)
    for event in (Waiting(), Step(1, 2, "Looking")):
        assert pickle.loads(pickle.dumps(event)) == event
    error = pickle.loads(pickle.dumps(EngineError("One sentence.")))
    assert isinstance(error, EngineError)
    assert str(error) == "One sentence."


def test_the_answer_holds_bytes_that_a_browser_reads_and_no_image():
    (found,) = look(Request("test_vit2", "rollout"), [RED])
    for encoded, kind in ((found.photo, "JPEG"), (found.seen, "WEBP"), (found.map.layer, "WEBP")):
        assert isinstance(encoded.data, bytes)
        assert encoded.kind == kind.lower()
        assert images.decode(encoded).size == (encoded.width, encoded.height)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_what_must_be_exact_is_encoded_without_loss(mode):
    noise = np.random.default_rng(0).integers(0, 255, (50, 70, len(mode)), dtype=np.uint8)
    if mode == "RGBA":
        noise[..., 3] = 255
        noise[:9, :, 3] = 0
    back = np.asarray(images.decode(images.encode_exact(Image.fromarray(noise))).convert(mode))
    seen = back[..., -1:] > 0 if mode == "RGBA" else True
    assert np.array_equal(back[..., -1], noise[..., -1])
    assert np.array_equal(np.where(seen, back, 0), np.where(seen, noise, 0))


def test_an_unreadable_photo_is_a_sentence_and_does_not_affect_the_others():
    job = Job("look", QUICK.request, (BROKEN, photo(RED), Photo("empty.png", b"")))
    first, second, third = ENGINE.perform(job).photos
    assert first.startswith("'broken.jpg' is damaged or no")
    assert third == "'empty.png' is empty: copy or download it again."
    (alone,) = look(QUICK.request, [RED])
    assert np.array_equal(second.map.values, alone.map.values)
    assert second.photo == alone.photo


def test_photos_that_are_all_bad_need_no_model():
    ran = LocalEngine()
    (only,) = ran.perform(Job("look", QUICK.request, (BROKEN,))).photos
    assert "damaged" in only
    assert not ran.store.models


def test_a_click_counts_the_photos_that_cannot_be_read():
    request = Request("test_vit2", "similarity", clicked=(1, (0.5, 0.5)))
    _, asked, other = ENGINE.perform(Job("look", request, (BROKEN, photo(RED), photo(RED)))).photos
    assert asked.asking == pytest.approx((0.5, 0.5))
    assert other.asking is None


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (Job("look", Request("resnet5000"), QUICK.photos), "There is no architecture 'resnet5000'"),
        (Job("look", Request("resnet50.a1_in1"), QUICK.photos), "a1_in1k"),
        (Job("time", Request("nothing")), "There is no architecture"),
        (Job("look", Request("resnet50.a1_in1k"), QUICK.photos), "choose random weights"),
        (Job("look", Request("resnet20_cifar", "tea_leaves"), QUICK.photos), "no explanation called 'tea_leaves'"),
        (Job("look", Request("resnet20_cifar", target="1000000"), QUICK.photos), "there is no class 1000000"),
        (Job("look", QUICK.request), "There is no photo yet"),
        (Job("evaluate", QUICK.request, (BROKEN,)), "There is no photo yet"),
        (Job("evaluate", Request("resnet20_cifar", "pca"), QUICK.photos), "no order of importance"),
    ],
)
def test_a_job_that_cannot_be_done_raises_an_engine_error_with_a_sentence(monkeypatch, tmp_path, job, says):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EngineError, match=says) as refused:
        events(ENGINE, job)
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)


def test_an_unexpected_error_is_logged_and_the_visitor_gets_a_sentence(monkeypatch, caplog):
    def broken(*args):
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr(local, "look", broken)
    with pytest.raises(EngineError, match="the log says how"):
        events(ENGINE, QUICK)
    assert "by hand" in caplog.text


def test_reported_progress_never_decreases_and_the_answer_comes_last():
    *told, last = events(ENGINE, SLOW)
    assert isinstance(last, Looks)
    steps = [event for event in told if isinstance(event, Step) and event.total]
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert {step.doing for step in steps} <= {"Looking"}


def test_an_evaluation_of_a_slow_method_reports_steps_for_its_maps_and_for_their_figures():
    told = []
    ENGINE.perform(Job("evaluate", SLOW.request, SLOW.photos), told.append)
    totals = [step.total for step in told]
    assert [totals.count(total) for total in (50, 4)] == [2 * 10, 4 * 5]  # two maps of 10 batches; 4 maps measured in 5


class Gate:
    """Holds the first step of SLOW in the engine `ran` until `opened` is set."""

    def __init__(self, monkeypatch, ran):
        self.reached, self.opened, self.open_again = threading.Event(), threading.Event(), ran._compute

        def compute(job, told):
            def gated(event):
                if job == SLOW and not self.reached.is_set():
                    self.reached.set()
                    self.opened.wait(10)
                told(event)

            return self.open_again(job, gated)

        monkeypatch.setattr(ran, "_compute", compute)


def test_a_quick_job_overtakes_a_slow_one(monkeypatch):
    ran, ended = LocalEngine(), []
    gate = Gate(monkeypatch, ran)

    async def both():
        async def do(name, job):
            await engine.answer(ran, job)
            ended.append(name)

        slow = asyncio.create_task(do("slow", SLOW))
        await asyncio.to_thread(gate.reached.wait, 10)
        quick = asyncio.create_task(do("quick", QUICK))
        while not ran.schedule._waiting:
            await asyncio.sleep(0.01)
        gate.opened.set()
        await asyncio.gather(slow, quick)

    asyncio.run(both())
    assert ended == ["quick", "slow"]


def test_a_waiting_job_is_told_and_closing_frees_the_device_at_the_next_step(monkeypatch):
    monkeypatch.setattr(local, "BEAT", 0.05)
    ran = LocalEngine()
    gate = Gate(monkeypatch, ran)

    async def visit():
        async with aclosing(ran.run(SLOW)) as slow:
            await anext(slow)
            await asyncio.to_thread(gate.reached.wait, 10)
            async with aclosing(ran.run(QUICK)) as quick:
                assert await anext(quick) == Waiting()
                await slow.aclose()
                gate.opened.set()
                *_, answer = [event async for event in quick]
                return answer

    assert isinstance(asyncio.run(visit()), Looks)
    assert ran.schedule._holder is None


def test_a_stopped_job_sends_no_more_steps():
    told = []

    def stop_at_three(event):
        told.append(event)
        if len(told) == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        ENGINE.perform(SLOW, stop_at_three)
    assert len(told) == 3
    assert ENGINE.schedule._holder is None
    assert isinstance(ENGINE.perform(QUICK), Looks)


def test_an_event_comes_every_second_even_in_a_long_step(monkeypatch):
    monkeypatch.setattr(local, "BEAT", 0.02)
    ran = LocalEngine()
    gate = Gate(monkeypatch, ran)

    async def listen():
        heard = []
        async with aclosing(ran.run(SLOW)) as steps:
            async for event in steps:
                heard.append(event)
                if gate.reached.is_set() and len(heard) > 10:
                    break
        return heard

    heard = asyncio.run(listen())
    gate.opened.set()
    assert heard[-1] == Step(0, 0, "Looking")


def test_jobs_that_are_slow():
    assert [job.slow for job in (QUICK, SLOW)] == [False, True]
    assert Job("evaluate", QUICK.request).slow
    assert Job("time", QUICK.request).slow


def test_a_timing_is_kept_for_an_hour_and_measured_again_if_seconds_are_given():
    now = [0.0]
    ran = LocalEngine()
    ran.timings._clock = lambda: now[0]
    first = ran.perform(Job("time", QUICK.request))
    assert ran.perform(Job("time", QUICK.request)) is first
    anew = time_it("resnet20_cifar", 0.1, ran)
    assert anew is not first
    assert ran.perform(Job("time", QUICK.request)) is anew
    now[0] = 3601.0
    assert ran.perform(Job("time", QUICK.request, seconds=None)) is not anew


def test_the_time_that_other_jobs_take_between_two_passes_is_not_counted():
    """Interrupted for half a second again and again, a timing of 0.7 s keeps its number of passes."""
    waited = 0.0

    def slow_told(event):
        nonlocal waited
        if isinstance(event, Step) and event.total:
            time.sleep(0.5)
            waited += 0.5

    timing = ENGINE.perform(Job("time", QUICK.request, seconds=0.7), slow_told)
    assert waited >= 1.0
    assert timing.median_ms < 250
    assert timing.n >= 40


class Spaces:
    """ZeroGPU as the engine sees it: arguments and results of a call are pickled."""

    @staticmethod
    def GPU(duration):  # noqa: N802
        def lend(function):
            def call(job):
                if duration(job) > 30:
                    raise RuntimeError("Your share of today is spent.")
                return pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(job)))))

            return call

        return lend


def test_on_zerogpu_answers_and_errors_come_out_of_its_process(monkeypatch):
    monkeypatch.setattr(zerogpu, "spaces", Spaces)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    ran = LocalEngine()
    (found,) = look(QUICK.request, [RED], ran)
    assert np.array_equal(found.map.values, look(QUICK.request, [RED])[0].map.values)
    with pytest.raises(EngineError, match="no class 1000000"):
        ran.perform(Job("look", Request("resnet20_cifar", target="1000000"), QUICK.photos))
    with pytest.raises(EngineError, match="share of today is spent"):
        ran.perform(Job("evaluate", QUICK.request, QUICK.photos))


def test_the_archive_of_a_map_holds_its_values_facts_and_layer():
    (found,) = look(Request("test_vit2"), [RED])
    with zipfile.ZipFile(io.BytesIO(engine.archive(found))) as kept:
        assert sorted(kept.namelist()) == ["map.json", "map.npy", "map.png", "overlay.png"]
        assert np.array_equal(np.load(io.BytesIO(kept.read("map.npy"))), found.map.values)
        assert json.loads(kept.read("map.json"))["model"] == "test_vit2"
        drawn = Image.open(io.BytesIO(kept.read("map.png")))
        assert drawn.tobytes() == images.decode(found.map.layer).tobytes()
    (bare,) = look(Request("resnet20_cifar", "rollout"), [RED])
    with pytest.raises(EngineError, match="no map"):
        engine.archive(bare)
