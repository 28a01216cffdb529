"""Who asks; of a visitor's jobs only the newest goes on; and how PyTorch's threads wait."""

import os
import subprocess
import sys
from contextlib import closing

import httpx
from gradio_client import Client

from engine import Step, Waiting
from tests.ui.served import serve
from ui.work import Newest, doing

WHO = """
import gradio as gr
from ui import work

def who() -> str:
    return str(work.visitor())

with gr.Blocks(analytics_enabled=False) as demo:
    gr.api(who, api_name="who")
demo.launch(ssr_mode=False, quiet=True)
"""


def test_a_program_is_known_by_its_session_and_one_that_gives_none_by_its_address(tmp_path):
    with serve(tmp_path, "-c", WHO) as address:
        for _ in range(2):
            with closing(Client(address, verbose=False, analytics_enabled=False)) as program:
                assert [program.predict(api_name="/who") for _ in range(2)] == [program.session_hash] * 2
        call = f"{address}gradio_api/call/who"
        for _ in range(2):
            event = httpx.post(call, json={"data": []}).json()["event_id"]
            assert '"127.0.0.1"' in httpx.get(f"{call}/{event}").text


def test_a_newer_job_of_the_same_visitor_supersedes_the_older():
    newest = Newest()
    with newest.turn("ann") as first, newest.turn("bob") as other:
        assert first() and other()
        with newest.turn("ann") as second:
            assert second() and other()
            assert not first()


def test_what_a_job_does_is_said_with_its_place_in_the_queue():
    places = [doing(Waiting(ahead))[0] for ahead in range(3)]
    waiting = "Waiting for the device"
    assert places == [waiting, f"{waiting}: one job goes first", f"{waiting}: 2 jobs go first"]
    assert doing(Step(1, 4, "Looking")) == ("Looking: 1 of 4", 0.25)


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
