"""The schedule: one job computes, quick ones go first between steps, and none waits for ever."""

import threading
import time
from contextlib import contextmanager

import pytest

from engine import schedule
from engine.schedule import PATIENCE, Schedule

SOON = 10.0  # seconds after which a test fails


class Line:
    """Jobs of a schedule, each in its own thread; `log` records which job made which step, in order."""

    def __init__(self):
        self.schedule, self.log, self.threads = Schedule(), [], []
        self.inside, self.most = 0, 0

    def start(self, name, slow, steps=1, before=lambda step: None, beat=lambda: None):
        """Start a job, and return when it is in the queue or has the device."""
        seen = len(self.log) + len(self.schedule._waiting)

        def compute():
            with self.schedule.turn(slow, beat) as give_way:
                for step in range(steps):
                    self.inside += 1
                    self.most = max(self.most, self.inside)
                    self.log.append(f"{name}{step}")
                    before(step)
                    self.inside -= 1
                    give_way()

        thread = threading.Thread(target=compute)
        thread.start()
        self.threads.append(thread)
        wait(lambda: len(self.log) + len(self.schedule._waiting) > seen)

    def end(self):
        for thread in self.threads:
            thread.join(SOON)
            assert not thread.is_alive()
        return self.log


def wait(condition):
    for _ in range(int(SOON / 0.002)):
        if condition():
            return
        time.sleep(0.002)
    raise AssertionError("the condition never became true")


@contextmanager
def held(line):
    """A job holds the device until the jobs started here are in the queue."""
    go = threading.Event()
    line.start("first", False, before=lambda step: go.wait(SOON))
    yield
    go.set()


def test_among_equals_first_come_first_served():
    line = Line()
    with held(line):
        for name in "abc":
            line.start(name, slow=False)
    assert line.end() == ["first0", "a0", "b0", "c0"]


def test_quick_jobs_go_before_slow_ones_that_came_earlier():
    line = Line()
    with held(line):
        line.start("slow", slow=True)
        line.start("quick", slow=False)
    assert line.end() == ["first0", "quick0", "slow0"]


def test_a_slow_job_lets_a_quick_one_finish_between_two_steps():
    line = Line()

    def bring(step):
        if step == 1:
            line.start("quick", slow=False, steps=3)

    line.start("slow", slow=True, steps=4, before=bring)
    assert line.end() == ["slow0", "slow1", "quick0", "quick1", "quick2", "slow2", "slow3"]


def test_a_slow_job_keeps_its_place_before_a_slow_one_that_came_later():
    line = Line()

    def bring(step):
        if step == 0:
            line.start("later", slow=True)
            line.start("quick", slow=False)

    line.start("slow", slow=True, steps=2, before=bring)
    assert line.end() == ["slow0", "quick0", "slow1", "later0"]


def test_a_slow_job_makes_a_step_after_patience_quick_ones():
    line = Line()
    with held(line):
        line.start("slow", slow=True, steps=2)
        for i in range(3 * PATIENCE):
            line.start(f"q{i}.", slow=False)
    log = line.end()
    assert [log.index(step) for step in ("slow0", "slow1")] == [1 + PATIENCE, 2 + 2 * PATIENCE]


def test_no_two_jobs_compute_at_once():
    line = Line()
    for i in range(12):
        line.start(f"job{i}.", slow=i % 2 == 0, steps=5, before=lambda step: time.sleep(0.001))
    assert len(line.end()) == 60
    assert line.most == 1


class EndedError(Exception):
    pass


def test_a_waiting_job_hears_beats_and_may_leave(monkeypatch):
    monkeypatch.setattr(schedule, "BEAT", 0.01)
    line, beats = Line(), []

    def beat():
        beats.append(None)
        if len(beats) == 3:
            raise EndedError

    with held(line), pytest.raises(EndedError), line.schedule.turn(False, beat):
        raise AssertionError("the job had its turn, but it should have left")
    line.start("next", slow=False)
    assert line.end() == ["first0", "next0"]


def test_a_slow_job_that_leaves_while_another_computes_does_not_free_the_device(monkeypatch):
    monkeypatch.setattr(schedule, "BEAT", 0.01)
    line, go = Line(), threading.Event()

    def leave():
        raise EndedError

    with pytest.raises(EndedError), line.schedule.turn(True, leave) as give_way:
        line.start("quick", slow=False, steps=2, before=lambda step: go.wait(SOON))
        give_way()
    line.start("next", slow=False)
    assert line.log == ["quick0"]  # the quick job still has the device
    go.set()
    assert line.end() == ["quick0", "quick1", "next0"]


def test_an_error_gives_the_device_back():
    line = Line()
    with pytest.raises(EndedError), line.schedule.turn(False, lambda: None):
        raise EndedError
    line.start("next", slow=False)
    assert line.end() == ["next0"]
