"""What makes no sense is refused with one sentence, from the queue, from the routes and by the page's own handlers."""

import errno
import json
import time
import urllib.error
import urllib.request
from contextlib import suppress

import httpx
import pytest

from tests.ui.served import outside
from ui import door, uploads
from ui.uploads import REFUSED

CIFAR = "resnet20_cifar"
FILE = {"meta": {"_type": "gradio.FileData"}}
LONG = "9" * 5000


def post(address: str, body: object) -> tuple[int, dict]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def joined(url: str, name: str, data: list, event: object = None) -> str:
    """Send an event to a handler of the page, as the page does. -> the address of its stream"""
    with urllib.request.urlopen(f"{url}config") as answer:
        known = json.load(answer)["dependencies"]
    wanted = next(one["id"] for one in known if one["api_name"] == name)
    session = f"s{time.time_ns()}"
    body = {"data": data, "fn_index": wanted, "session_hash": session, "event_data": event}
    assert post(f"{url}gradio_api/queue/join", body)[0] == 200
    return f"{url}gradio_api/queue/data?session_hash={session}"


def queued(url: str, name: str, data: list, event: object = None) -> list[dict]:
    """Send an event to a handler of the page. -> the messages of its stream"""
    with urllib.request.urlopen(joined(url, name, data, event)) as stream:
        lines = stream.read().decode().split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]


def completed(messages: list[dict]) -> dict:
    (last,) = [message for message in messages if message["msg"] == "process_completed"]
    return last["output"]


def error_of(messages: list[dict]) -> str:
    return completed(messages)["error"]


def choice(**changed: object) -> list:
    values = dict(
        photos=[], model=CIFAR, method="grad_cam", target="", contrast="", layer="last", head="mean",
        precision="float32",
        signed=False, together=False, count=5, opacity=0.5,
    )  # fmt: skip
    return list((values | changed).values())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("classify_1", [None, *choice()]),
        ("classify_1", ["pressed 1", *choice(count=-1)]),
        ("classify_1", ["pressed 1", *choice(opacity=1.5)]),
        ("classify_1", ["pressed 1", *choice(head=LONG)]),
        ("evaluate", choice(count=0)),
        ("time_model", [None, "float32"]),
        ("time_model", [CIFAR, "float8"]),
        ("measure", [{}, None]),
        ("choose_checkpoint", [5, None, [], {}]),
        ("choose_method", [CIFAR, "tea_leaves"]),
        ("stopped", [CIFAR, "float32", 5]),
        ("pick", [CIFAR]),
        ("set_truth", ["no list"]),
    ],
)
def test_a_handler_of_the_page_that_gets_nonsense_says_so(url, name, data):
    said = error_of(queued(url, name, data))
    assert said == door.MALFORMED or (said.startswith("There is no") and len(said) < 200)


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/passwdx", "/proc/1/root", "\0", "x" * 300, "\ud800", "loop"])
def test_a_path_that_was_not_uploaded_gets_the_same_sentence_whatever_is_there(url, tmp_path, path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    file = {"path": str(tmp_path / "loop") if path == "loop" else path, **FILE}
    assert error_of(queued(url, "classify", [file, CIFAR, 5])) == REFUSED
    said = error_of(queued(url, "set_truth", [[]], {"photo": 0, "truth": file}))
    assert path not in said and said in (REFUSED, door.MALFORMED)


def test_half_a_character_in_a_name_is_replaced(url):
    photo = {"path": "example:lion.jpg", "name": "\ud800.jpg"}
    messages = queued(url, "classify_1", ["pressed \ud800", *choice(photos=[photo])])
    assert "?.jpg" in json.dumps(messages)
    assert door.clean({"\ud800": ["\ud800", 5, None]}) == {"?": ["?", 5, None]}


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("call/nothing", {"data": []}),
        ("queue/join", {"data": [], "fn_index": 9999, "session_hash": "s"}),
        ("call/v2/classify", {"bogus": 1}),
        ("call/v2/classify", {}),
    ],
)
def test_a_call_of_what_is_not_there_is_refused_with_a_sentence(url, route, body):
    assert post(f"{url}gradio_api/{route}", body) == (400, {"error": door.MALFORMED})


def test_work_for_a_program_ends_when_its_connection_closes(url, client):
    """A latency waits for the slow map that came first, which would take minutes."""
    with uploads.EXAMPLES["lion.jpg"].open("rb") as photo:
        (path,) = httpx.post(f"{url}gradio_api/upload", files={"files": photo}).json()
    asked = {"data": [{"path": path, **FILE}, "resnet152", "score_cam", "", "", "", -1, False, None]}
    event = httpx.post(f"{url}gradio_api/call/explain", json=asked).json()["event_id"]
    with httpx.stream("GET", f"{url}gradio_api/call/explain/{event}", timeout=2) as stream, suppress(httpx.ReadTimeout):
        stream.read()
    assert client.submit(CIFAR, 0.1, api_name="/latency").result(timeout=60)["n"] >= 1


def test_an_address_that_is_too_long_for_a_file_is_not_found(url):
    answer = httpx.get(f"{url}static/{'a' * 5000}")
    assert (answer.status_code, answer.json()) == (404, {"error": "There is nothing at this address."})


def test_a_disk_without_space_is_told():
    with pytest.raises(OSError, match="No space") as full:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/secret")
    answer = door.refuse_file(None, full.value)
    assert answer.status_code == 500
    assert json.loads(answer.body) == {"error": "The server could not read or write a file, perhaps for want of space."}


def test_a_stream_that_cannot_go_on_leaves_no_traceback_in_the_log(url):
    """The fixture of the page reads the log."""
    with suppress(httpx.RemoteProtocolError):
        assert not httpx.get(f"{url}gradio_api/queue/data?session_hash=nobody").content


def test_an_uploaded_file_is_read_by_its_address_and_no_host_is_asked(url):
    """As clients of the Model Context Protocol name files."""
    with uploads.EXAMPLES["lion.jpg"].open("rb") as photo:
        (path,) = httpx.post(f"{url}gradio_api/upload", files={"files": photo}).json()
    for host in (url, "http://192.0.2.1/"):
        file = {"path": f"{host}gradio_api/file={path}", **FILE}
        (found,) = completed(queued(url, "classify", [file, "tf_efficientnet_lite0.pypi_in1k", 1, "float32"]))["data"]
        assert found["guesses"][0]["label"] == "lion"
    for other in ("http://192.0.2.1/lion.jpg", f"http://192.0.2.1/gradio_api/file={CIFAR}"):
        assert error_of(queued(url, "classify", [{"path": other, **FILE}, CIFAR, 1, "float32"])) == REFUSED


def test_two_streams_of_one_page_end_without_a_traceback_in_the_log(url):
    events = joined(url, "latency", [CIFAR, 5.0, "fast", "float32"])
    with httpx.stream("GET", events), httpx.stream("GET", events):
        time.sleep(0.2)
    time.sleep(0.5)  # until the server has seen that they are closed


@pytest.mark.parametrize("address", ["http://192.0.2.1/lion.jpg", "https://192.0.2.1/lion.jpg", "http:/192.0.2.1/"])
def test_the_page_fetches_nothing_from_other_hosts(url, address):
    assert outside(address)
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(f"{url}gradio_api/file={address}")
    refused.value.close()
