"""Timings: made when nobody needs the device, once for all who ask, and kept with their time."""

import threading
import time

from engine import Job, LocalEngine, Request, Step, Timing
from tests.engine.jobs import ENGINE, RED, photo, time_it

NAME = "resnet20_cifar"
UNASKED = Job("time", Request(NAME))
QUICK = Job("look", Request(NAME), (photo(RED),))


def test_a_timing_is_kept_with_its_age_and_measured_again_if_seconds_are_given():
    now = [100.0]
    ran = LocalEngine()
    ran.timings._clock = lambda: now[0]
    assert ran.timed(NAME) is None
    first = ran.perform(UNASKED)
    now[0] = 5100.0
    assert ran.perform(UNASKED) is first
    assert (ran.timed(NAME).timing, ran.timed(NAME).age_s) == (first, 5000.0)
    anew = time_it(NAME, 0.1, ran)
    assert anew is not first
    assert (ran.timed(NAME).timing, ran.timed(NAME).age_s) == (anew, 0.0)
    assert ran.timed("resnet32_cifar") is None


def test_who_goes_first():
    slow = Job("look", Request(NAME, "integrated_gradients"), QUICK.photos)
    timed = Job("time", Request(NAME), seconds=0.1)
    jobs = [QUICK, slow, Job("evaluate", QUICK.request), timed, UNASKED]
    assert [job.priority.name for job in jobs] == ["QUICK", "SLOW", "SLOW", "SLOW", "IDLE"]


def test_six_who_ask_at_once_measure_once():
    ran, answers = LocalEngine(), []
    threads = [threading.Thread(target=lambda: answers.append(ran.perform(UNASKED))) for _ in range(6)]
    with ran.schedule.turn(QUICK.priority, lambda: None):
        for thread in threads:
            thread.start()
        while len(ran.schedule._waiting) < 6:
            time.sleep(0.001)
    for thread in threads:
        thread.join(30)
    assert len(set(map(id, answers))) == 1
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
