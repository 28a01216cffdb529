"""How long a job may compute."""

import pytest

from engine import EngineError, Job, LocalEngine, Request
from engine.limit import SECONDS, VARIABLE, Limit, allowed
from tests.engine.jobs import RED, photo

SLOW = Job("look", Request("resnet20_cifar", "occlusion"), (photo(RED),))


def test_time_that_a_job_waits_does_not_count():
    now = [0.0]
    limit = Limit(10, clock=lambda: now[0])
    now[0] = 9.0
    with limit.paused():
        now[0] = 500.0
    limit.check()
    now[0] = 501.5
    with pytest.raises(EngineError, match=f"longer than the 10 seconds that {VARIABLE} allows"):
        limit.check()


def test_the_environment_sets_it(monkeypatch):
    assert allowed() == SECONDS
    monkeypatch.setenv(VARIABLE, "2.5")
    assert allowed() == 2.5
    for wrong in ("", "soon", "0", "-1", "nan"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(ValueError, match=f"{VARIABLE} is {wrong!r}: set it to a number"):
            allowed()


def test_a_slow_job_ends_at_its_limit_with_a_sentence_and_the_device_is_free(monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.000001")
    ran = LocalEngine()
    with pytest.raises(EngineError, match=VARIABLE):
        ran.perform(SLOW)
    assert ran.schedule._holder is None
