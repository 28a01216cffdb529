"""Timings: made when nobody needs the device, once for all who ask, and kept with their time."""

import re
import shutil
import threading
import time

import pytest

from engine import EngineError, Job, LocalEngine, Request, Step, Timing, ways
from tests.engine.jobs import ENGINE, RED, photo, time_it

NAME = "resnet20_cifar"
UNASKED = Job("time", Request(NAME))
QUICK = Job("look", Request(NAME), (photo(RED),))


def test_a_timing_is_kept_with_its_age_and_measured_again_if_seconds_are_given():
    now = [100.0]
    ran = LocalEngine()
    ran.records._clock = lambda: now[0]
    assert ran.timed(UNASKED.request) == {}
    first = ran.perform(UNASKED)
    now[0] = 5100.0
    assert ran.perform(UNASKED) == first
    kept = ran.timed(UNASKED.request)["fast"]
    assert (kept.timing, kept.age_s) == (first, 5000.0)
    anew = time_it(NAME, 0.1, ran)
    assert anew != first
    kept = ran.timed(UNASKED.request)["fast"]
    assert (kept.timing, kept.age_s) == (anew, 0.0)
    assert ran.timed(Request("resnet32_cifar")) == ran.timed(Request(NAME, precision="bfloat16")) == {}


def test_a_model_is_timed_by_the_path_that_is_asked_for_and_the_last_comes_first():
    now = [0.0]
    ran = LocalEngine()
    ran.records._clock = lambda: now[0]
    for way in ("fast", "plain"):
        ran.perform(Job("time", Request(NAME), way=way, seconds=0.1))
        now[0] += 1
    fast, plain = ran.timed(Request(NAME))["fast"].timing, ran.timed(Request(NAME))["plain"].timing
    assert list(ran.timed(Request(NAME))) == ["plain", "fast"]
    assert (fast.way, plain.way, fast.dtype, plain.prepared_s) == ("fast", "plain", "float32", 0)
    assert 0 < fast.change < 1e-4 * fast.reach and fast.prepared_s > 0
    assert "accelerated in" in fast.sentence() and "as it is written" in plain.sentence()
    less = ran.perform(Job("time", Request(NAME, precision="bfloat16"), seconds=0.1))
    assert less.dtype == "bfloat16" and less.change > fast.change


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # the compiler's own
def test_a_compiled_model_is_timed_where_there_is_a_compiler():
    try:
        timing = ENGINE.perform(Job("time", Request("resnet9_cifar"), way="compiled", seconds=0.1))
    except EngineError as error:
        assert str(error) == ways.NO_COMPILER and not shutil.which("g++")
    else:
        assert timing.way == "compiled" and timing.prepared_s > 0 and timing.change < 1e-3 * timing.reach


@pytest.mark.parametrize(
    ("way", "precision", "sentence"),
    [
        ("jit", "float32", ways.NO_WAY),
        ("fast", "float64", ways.NO_PRECISION),
        ("plain", "bfloat16", ways.ONLY_FAST),
    ],
)
def test_a_path_that_does_not_exist_is_refused(way, precision, sentence):
    with pytest.raises(EngineError, match=re.escape(sentence)):
        ENGINE.perform(Job("time", Request(NAME, precision=precision), way=way, seconds=0.1))


def test_who_goes_first():
    slow = Job("look", Request(NAME, "integrated_gradients"), QUICK.photos)
    timed = Job("time", Request(NAME), seconds=0.1)
    jobs = [QUICK, slow, Job("evaluate", QUICK.request), timed, UNASKED]
    assert [job.priority.name for job in jobs] == ["QUICK", "SLOW", "SLOW", "SLOW", "IDLE"]


def test_six_who_ask_at_once_measure_once():
    ran, answers = LocalEngine(), []
    threads = [threading.Thread(target=lambda: answers.append(ran.perform(UNASKED))) for _ in range(6)]
    with ran.schedule.turn(QUICK.priority, lambda ahead: None):
        for thread in threads:
            thread.start()
        while len(ran.schedule._waiting) < 6:
            time.sleep(0.001)
    for thread in threads:
        thread.join(30)
    assert len(set(answers)) == 1
    assert len(answers) == 6
    assert isinstance(answers[0], Timing)


def test_a_look_gets_the_device_between_two_passes_of_an_unasked_timing():
    ran, ended, answered = LocalEngine(), [], []
    look = threading.Thread(target=lambda: ended.append(ran.perform(QUICK)))

    def told(event):
        if isinstance(event, Step) and event.total:
            answered.append(bool(ended))
            if len(answered) == 1:
                look.start()
                while not ran.schedule._waiting:
                    time.sleep(0.001)

    timing = ran.perform(UNASKED, told)
    look.join(10)
    assert True in answered  # while the timing went on
    assert timing.n >= 40


def test_the_time_that_other_jobs_take_between_two_passes_is_not_counted():
    """Interrupted for 50 ms after every pass, a timing of 0.3 s still reaches 40: else five times that would not do."""
    timing = ENGINE.perform(Job("time", UNASKED.request, seconds=0.3), lambda event: time.sleep(0.05))
    assert timing.n >= 40
