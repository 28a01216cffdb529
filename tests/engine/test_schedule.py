"""The schedule: one job computes, quick ones go first between steps, and none waits for ever."""

import threading
import time
from contextlib import contextmanager

import pytest

from engine import schedule
from engine.schedule import PATIENCE, Priority, Schedule

QUICK, SLOW, IDLE = Priority
SOON = 10.0  # seconds after which a test fails


class Line:
    """Jobs of a schedule, each in its own thread; `log` records which job made which step, in order."""

    def __init__(self):
        self.schedule, self.log, self.threads = Schedule(), [], []
        self.inside, self.most = 0, 0

    def start(self, name, priority, steps=1, before=lambda step: None, beat=lambda ahead: None, visitor=None):
        """Start a job, and return when it is in the queue or has the device."""
        seen = len(self.log) + len(self.schedule._waiting)

        def compute():
            with self.schedule.turn(priority, beat, visitor) as give_way:
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
    line.start("first", QUICK, before=lambda step: go.wait(SOON))
    yield
    go.set()


def test_among_equals_first_come_first_served():
    line = Line()
    with held(line):
        for name in "abc":
            line.start(name, QUICK)
    assert line.end() == ["first0", "a0", "b0", "c0"]


def test_quick_jobs_go_before_slow_ones_that_came_earlier():
    line = Line()
    with held(line):
        line.start("slow", SLOW)
        line.start("quick", QUICK)
    assert line.end() == ["first0", "quick0", "slow0"]


def test_a_slow_job_lets_a_quick_one_finish_between_two_steps():
    line = Line()

    def bring(step):
        if step == 1:
            line.start("quick", QUICK, steps=3)

    line.start("slow", SLOW, steps=4, before=bring)
    assert line.end() == ["slow0", "slow1", "quick0", "quick1", "quick2", "slow2", "slow3"]


def test_a_slow_job_keeps_its_place_before_a_slow_one_that_came_later():
    line = Line()

    def bring(step):
        if step == 0:
            line.start("later", SLOW)
            line.start("quick", QUICK)

    line.start("slow", SLOW, steps=2, before=bring)
    assert line.end() == ["slow0", "quick0", "slow1", "later0"]


def test_a_slow_job_makes_a_step_after_patience_quick_ones():
    line = Line()
    with held(line):
        line.start("slow", SLOW, steps=2)
        for i in range(3 * PATIENCE):
            line.start(f"q{i}.", QUICK)
    log = line.end()
    assert [log.index(step) for step in ("slow0", "slow1")] == [1 + PATIENCE, 2 + 2 * PATIENCE]


def test_of_one_visitors_slow_jobs_the_next_begins_when_the_one_before_has_ended():
    line = Line()

    def bring(step):
        if step == 0:
            line.start("a2.", SLOW, visitor="ann")
            line.start("quick", QUICK, visitor="ann")
        if step == 1:
            line.start("b", SLOW, visitor="bob")

    with held(line):
        line.start("a1.", SLOW, steps=3, before=bring, visitor="ann")
    assert line.end() == ["first0", "a1.0", "quick0", "a1.1", "a1.2", "a2.0", "b0"]


def test_while_a_visitors_slow_job_gives_way_none_of_their_others_begins():
    line = Line()

    def bring(step):
        if step == 0:  # five quick ones: after PATIENCE of them, a slow one is due
            line.start("a2.", SLOW, visitor="ann")
            for i in range(PATIENCE + 1):
                line.start(f"q{i}.", QUICK)

    line.start("a1.", SLOW, steps=2, before=bring, visitor="ann")
    log = line.end()
    assert log.index("a1.1") == PATIENCE + 1
    assert log[-1] == "a2.0"


def test_an_idle_job_starts_when_no_other_waits():
    line = Line()
    with held(line):
        line.start("idle", IDLE)
        line.start("later", IDLE)
        line.start("slow", SLOW, steps=2)
        for i in range(3 * PATIENCE):
            line.start(f"q{i}.", QUICK)
    assert line.end()[-2:] == ["idle0", "later0"]


@pytest.mark.parametrize("priority", [QUICK, SLOW])
def test_an_idle_job_gives_way_at_each_step_to_all_but_idle_ones(priority):
    line = Line()

    def bring(step):
        if step == 0:
            line.start("later", IDLE)
        if step < 2:
            line.start(f"other{step}.", priority, steps=2)

    line.start("idle", IDLE, steps=3, before=bring)
    others = [["other0.0", "other0.1"], ["other1.0", "other1.1"]]
    assert line.end() == ["idle0", *others[0], "idle1", *others[1], "idle2", "later0"]


def test_a_slow_job_does_not_give_way_to_an_idle_one():
    line = Line()
    line.start("slow", SLOW, steps=2, before=lambda step: step or line.start("idle", IDLE))
    assert line.end() == ["slow0", "slow1", "idle0"]


def test_no_two_jobs_compute_at_once():
    line = Line()
    for i in range(12):
        line.start(f"job{i}.", Priority(i % 3), steps=5, before=lambda step: time.sleep(0.001))
    assert len(line.end()) == 60
    assert line.most == 1


class EndedError(Exception):
    pass


def test_a_waiting_job_hears_beats_and_may_leave(monkeypatch):
    monkeypatch.setattr(schedule, "BEAT", 0.01)
    line, beats = Line(), []

    def beat(ahead):
        beats.append(ahead)
        if len(beats) == 3:
            raise EndedError

    with held(line), pytest.raises(EndedError), line.schedule.turn(QUICK, beat):
        raise AssertionError("the job had its turn, but it should have left")
    line.start("next", QUICK)
    assert line.end() == ["first0", "next0"]


def test_a_waiting_job_hears_how_many_go_first(monkeypatch):
    monkeypatch.setattr(schedule, "BEAT", 0.01)
    line, told = Line(), {"slow": set(), "quick": set(), "later": set()}
    with held(line):
        line.start("slow", SLOW, beat=told["slow"].add)
        wait(lambda: told["slow"] == {1})
        line.start("quick", QUICK, beat=told["quick"].add)
        line.start("later", SLOW, beat=told["later"].add)
        wait(lambda: told["slow"] >= {1, 2} and told["quick"] and told["later"])
        assert (told["quick"], told["later"]) == ({1}, {3})
    line.end()


def test_a_slow_job_that_leaves_while_another_computes_does_not_free_the_device(monkeypatch):
    monkeypatch.setattr(schedule, "BEAT", 0.01)
    line, go = Line(), threading.Event()

    def leave(ahead):
        raise EndedError

    with pytest.raises(EndedError), line.schedule.turn(SLOW, leave) as give_way:
        line.start("quick", QUICK, steps=2, before=lambda step: go.wait(SOON))
        give_way()
    line.start("next", QUICK)
    assert line.log == ["quick0"]  # the quick job still has the device
    go.set()
    assert line.end() == ["quick0", "quick1", "next0"]


def test_an_error_gives_the_device_back():
    line = Line()
    with pytest.raises(EndedError), line.schedule.turn(QUICK, lambda ahead: None):
        raise EndedError
    line.start("next", QUICK)
    assert line.end() == ["next0"]
