"""Jobs of the local engine: bytes in, bytes out; cancellation, refusals and events."""

import asyncio
import pickle
import threading
import time
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
from tests.engine.jobs import ENGINE, RED, Spaces, look, photo
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
    probabilities = model(x).softmax(1)[0]
    shares, classes = probabilities.topk(10)  # all of CIFAR-10
    assert [guess.index for guess in found.guesses] == classes.tolist()
    assert [guess.probability for guess in found.guesses] == pytest.approx(shares.tolist(), abs=1e-6)
    assert found.probabilities == pytest.approx(probabilities.numpy(), abs=1e-6)
    assert found.probabilities.dtype == np.float32
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


def test_many_photos_keep_their_order_and_progress_counts_them_in_the_jobs_own_thread(monkeypatch):
    monkeypatch.setattr(local, "OPENERS", 4)
    shades = [Image.new("RGB", (400 - 30 * i, 200), (20 * i, 0, 0)) for i in range(12)]  # the later, the quicker
    photos, told = [*map(photo, shades)], []
    photos[5] = BROKEN
    found = ENGINE.perform(Job("look", QUICK.request, tuple(photos)), lambda e: told.append((e, threading.get_ident())))
    assert isinstance(found.photos[5], str)
    for i, answer in enumerate(found.photos):
        assert i == 5 or images.decode(answer.seen).convert("RGB").getpixel((16, 16)) == (20 * i, 0, 0)
    opening = [event for event, _ in told if isinstance(event, Step) and event.doing == "Opening photos"]
    assert opening == [Step(i, 12, "Opening photos") for i in range(12)]
    assert {thread for _, thread in told} == {threading.get_ident()}


def test_a_job_that_is_closed_while_its_photos_open_begins_no_further_one(monkeypatch):
    begun = []

    def slow(photo, row):
        begun.append(photo)
        time.sleep(0.2)
        return "One sentence."

    def closed(event):
        raise StoppedError

    monkeypatch.setattr(local, "_framed", slow)
    with pytest.raises(StoppedError):
        ENGINE.perform(Job("look", QUICK.request, 12 * QUICK.photos), closed)
    assert len(begun) <= 2 * local.OPENERS < 12


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
        events(LocalEngine(), QUICK)
    assert "by hand" in caplog.text


def test_reported_progress_never_decreases_and_the_answer_comes_last():
    *told, last = events(LocalEngine(), SLOW)
    assert isinstance(last, Looks)
    steps = [event for event in told if isinstance(event, Step) and event.total]
    assert {step.doing for step in steps} <= {"Opening photos", "Looking"}
    looking = [step.done for step in steps if step.doing == "Looking"]
    assert looking == sorted(looking)


def test_an_evaluation_of_a_slow_method_reports_steps_for_its_maps_and_for_their_figures():
    told = []
    ENGINE.perform(Job("evaluate", SLOW.request, SLOW.photos), told.append)
    totals = [step.total for step in told]
    assert totals.count(50) == 2 * 50  # the map, and that of shuffled weights
    measured = [step.done for step in told if step.total == 350]  # 7 maps in 50 forwards each
    assert measured == [done + after for done in range(350) for after in (0, 1)]


class Gate:
    """Holds the first step of SLOW in the engine `ran` until `opened` is set."""

    def __init__(self, monkeypatch, ran):
        self.reached, self.opened, self.open_again = threading.Event(), threading.Event(), ran._compute

        def compute(job, frames, way, told):
            def gated(event):
                if job == SLOW and not self.reached.is_set():
                    self.reached.set()
                    self.opened.wait(10)
                told(event)

            return self.open_again(job, frames, way, gated)

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
                while await anext(quick) != Waiting(ahead=1):
                    pass
                await slow.aclose()
                gate.opened.set()
                *_, answer = [event async for event in quick]
                return answer

    assert isinstance(asyncio.run(visit()), Looks)
    assert ran.schedule._holder is None


def test_a_stopped_job_sends_no_more_steps():
    ran, told = LocalEngine(), []

    def stop_at_three(event):
        told.append(event)
        if len(told) == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        ran.perform(SLOW, stop_at_three)
    assert len(told) == 3
    assert ran.schedule._holder is None
    assert isinstance(ran.perform(QUICK), Looks)


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


def test_more_jobs_than_the_engine_takes_are_refused_and_the_others_go_on(monkeypatch):
    ran = LocalEngine()
    ran.at_once = 2

    async def ask():
        with ran.schedule.turn(QUICK.priority, lambda ahead: None):
            async with aclosing(ran.run(QUICK)) as first, aclosing(ran.run(SLOW)) as second:
                await anext(first), await anext(second)
                with pytest.raises(EngineError, match="Too many people ask at once"):
                    await engine.answer(ran, QUICK)
        return await engine.answer(ran, QUICK)

    assert isinstance(asyncio.run(ask()), Looks)


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
