"""Of a visitor's jobs only the newest goes on; and how PyTorch's threads wait."""

import os
import subprocess
import sys

from ui.work import Newest


def test_a_newer_job_of_the_same_visitor_supersedes_the_older():
    newest = Newest()
    with newest.turn("ann") as first, newest.turn("bob") as other:
        assert first() and other()
        with newest.turn("ann") as second:
            assert second() and other()
            assert not first()


def test_an_older_job_that_ends_late_does_not_end_the_newer():
    newest = Newest()
    older, newer = newest.turn("ann"), newest.turn("ann")
    older.__enter__()
    still = newer.__enter__()
    older.__exit__(None, None, None)
    assert still()
    newer.__exit__(None, None, None)
    assert not still()


def test_how_long_threads_wait_for_each_other_is_set_before_pytorch_is_loaded():
    asked = "import os, sys, ui; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    unset = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    told = subprocess.run([sys.executable, "-c", asked], env=unset, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["2000", "False"]
