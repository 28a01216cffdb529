"""The endpoints, asked as another program asks them."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import get_type_hints

import numpy as np
import pytest
from gradio.data_classes import FileData
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import engine
import explain
import zoo
from engine import PRECISIONS, Job, Request
from tests.engine.jobs import ENGINE, RED, look
from ui import api, door, results
from ui.uploads import GRADIO_PHOTOS
from zoo import labels

LION = GRADIO_PHOTOS / "lion.jpg"
LITE = "tf_efficientnet_lite0.pypi_in1k"
CIFAR = "resnet32_cifar.cifar10"
REFUSED = "was not uploaded here"


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory):
    """A lion in formats that a careless reader gets wrong."""
    folder, lion = tmp_path_factory.mktemp("odd"), zoo.open_photo(LION)
    deep = np.asarray(lion.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    lion.convert("CMYK").save(folder / "print.jpg")
    clear = lion.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(lion.size))
    clear.save(folder / "clear.png")
    lion.resize((64, 64)).save(folder / "icon.ico")
    turned = Image.Exif()
    turned[0x0112] = 6
    lion.rotate(90, expand=True).save(folder / "turned.jpg", exif=turned)
    return folder


def test_a_card_says_what_the_catalogue_and_the_architecture_say(client):
    found = client.predict("resnet50", api_name="/card")
    row, family = engine.offered("resnet50")[0], zoo.family_of("resnet50")
    price = zoo.cost("resnet50", row.size)
    assert (found["model"], found["licence"], found["family"]) == (row.name, row.license, family.name)
    assert found["sentences"][0] == family.sentence
    assert (found["parameters"], found["macs"], found["input_size"]) == (25_557_032, price.macs, list(row.size))
    assert found["stages"][0] == ["stage1", 256, row.size[0] // 4, row.size[1] // 4]
    assert found["checkpoints"] == [each.name for each in zoo.for_architecture("resnet50")]
    assert len(found["alternatives"]) == 5
    random = client.predict("resnet110_cifar", api_name="/card")
    assert (random["licence"], random["accuracy"], random["checkpoints"]) == (None, {}, [])


@pytest.mark.parametrize("name", ["deep.png", "print.jpg", "clear.png", "icon.ico", "turned.jpg"])
def test_a_file_gives_the_same_answer_by_endpoint_and_zoo(client, odd_files, name):
    row = zoo.checkpoint(LITE)
    try:
        photo = zoo.open_photo(odd_files / name)
    except zoo.PhotoError as error:
        with pytest.raises(AppError) as refused:
            client.predict(handle_file(odd_files / name), LITE, api_name="/classify")
        assert refused.value.message == str(error)
        return
    best = zoo.load(row)(zoo.preprocess(photo, row)[None])[0].softmax(0).topk(5)
    guesses = client.predict(handle_file(odd_files / name), LITE, api_name="/classify")["guesses"]
    assert [guess["index"] for guess in guesses] == best.indices.tolist()
    assert [guess["probability"] for guess in guesses] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert guesses[0]["label"] == labels.names("in1k")[guesses[0]["index"]]


def test_as_many_guesses_as_asked(client):
    five, twenty = (client.predict(handle_file(LION), LITE, *top, api_name="/classify") for top in ([], [20]))
    assert [len(answer["guesses"]) for answer in (five, twenty)] == [5, 20]
    assert five["guesses"] == twenty["guesses"][:5]
    assert five["note"] is None
    assert five["weights"] == zoo.checkpoint(LITE).source


def test_random_weights_and_features_are_told_in_a_note(client):
    random = client.predict(handle_file(LION), "resnet18", api_name="/classify")
    assert random["weights"] == "random"
    assert random["guesses"] == []
    assert "its weights are random: for guesses, give a checkpoint, such as resnet18." in random["note"]
    _, _, facts = client.predict(handle_file(LION), "test_vit2", api_name="/explain")
    assert facts["weights"] == "random"
    assert "random" in facts["notes"][0]


def test_a_classification_makes_no_map(monkeypatch, tmp_path):
    """Every map goes through `explain.explain`, which here fails."""

    def fail(*args, **kwargs):
        raise AssertionError("a map was made")

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "lion.jpg").write_bytes(LION.read_bytes())
    monkeypatch.setattr(explain, "explain", fail)
    answer = asyncio.run(api.classify(FileData(path=str(tmp_path / "lion.jpg")), LITE, 5, "float32"))
    assert answer["guesses"][0]["label"] == "lion"
    assert look(Request(CIFAR, method=""), [RED])[0].map is None


@pytest.mark.parametrize(
    "request_",
    [
        Request(LITE, "grad_cam", target="tabby", contrast="287", layer="stage3", signed=True),
        Request("test_vit2", "attention", layer="3", head=1, clicked=(0, (0.5, 0.25))),
        Request(LITE, "pca"),
    ],
    ids=lambda request: request.method,
)
def test_a_map_is_that_of_the_engine(client, request_):
    asked = {key: getattr(request_, key) for key in ("method", "target", "contrast", "layer", "head", "signed")}
    place = request_.clicked and list(request_.clicked[1])
    overlay, values, facts = client.predict(
        handle_file(LION), request_.model, **asked, place=place, api_name="/explain"
    )
    (found,) = ENGINE.perform(Job("look", request_, (engine.Photo("lion.jpg", LION.read_bytes()),))).photos
    np.testing.assert_allclose(np.load(values), found.map.values, rtol=1e-4, atol=1e-6)
    with Image.open(overlay) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (found.photo.width, found.photo.height))
    told = {key: value for key, value in facts.items() if key not in ("seconds", "score", "notes", "weights", "label")}
    assert told == {key: json.loads(json.dumps(value)) for key, value in found.map.facts.items() if key in told}
    assert facts["label"] == found.map.target


def test_answers_have_the_fields_that_are_documented(client):
    lion = handle_file(LION)
    answers = {
        results.Architecture: client.predict("resnet18", api_name="/models")[0],
        results.Weighted: client.predict("resnet18", api_name="/checkpoints")[0],
        results.Classified: client.predict(lion, CIFAR, api_name="/classify"),
        results.Guess: client.predict(lion, CIFAR, api_name="/classify")["guesses"][0],
        results.Facts: client.predict(lion, CIFAR, api_name="/explain")[2],
        results.Latency: client.predict("resnet20_cifar", 0.2, api_name="/latency"),
        results.Compared: (compared := client.predict([lion], [CIFAR, LITE], ["grad_cam"], api_name="/compare")),
        results.Column: compared["columns"][0],
        results.Cell: compared["columns"][0]["photos"][0],
        results.Pair: compared["pairs"][0],
        results.Point: client.predict(["resnet20_cifar"], "batch", [2], 0.2, api_name="/measure")[0],
    }
    listed = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    told = " ".join(endpoint["description"] for endpoint in listed.values())
    for record, answer in answers.items():
        hints = get_type_hints(record, include_extras=True)
        assert set(answer) == set(hints)
        for name, hint in hints.items():
            assert f"{name}: {hint.__metadata__[-1]}" in told
    endpoints = "models", "checkpoints", "card", "classify", "explain", "latency", "compare", "measure"
    assert set(listed) == {f"/{name}" for name in endpoints}


def test_compared_models_say_what_each_says_alone_and_who_agrees(client):
    photos = [handle_file(GRADIO_PHOTOS / name) for name in ("lion.jpg", "cheetah.jpg")]
    other = LITE.replace("lite0", "lite1")
    found = client.predict(photos, [LITE, other, CIFAR], ["grad_cam"], api_name="/compare")
    for column in found["columns"]:
        alone = [client.predict(photo, column["model"], api_name="/classify")["guesses"] for photo in photos]
        told = [[guess["label"] for guess in cell["guesses"]] for cell in column["photos"]]
        assert told == [[guess["label"] for guess in guesses] for guesses in alone]
    pairs = {tuple(pair["between"]): pair for pair in found["pairs"]}
    assert pairs[0, 1]["same"] == [True, True] and pairs[0, 2]["same"] == [None, None]
    assert pairs[0, 1]["correlation"] > 0.8
    guesses = client.predict(photos[:1], [LITE, other], [], api_name="/compare")
    assert [column["method"] for column in guesses["columns"]] == [None, None]
    assert guesses["pairs"][0]["correlation"] is None
    ways = client.predict(photos[:1], [LITE], ["grad_cam", "attention"], api_name="/compare")
    assert ways["columns"][1]["photos"][0]["guesses"] == ways["columns"][0]["photos"][0]["guesses"]


def test_a_measurement_has_a_latency_or_a_reason_for_each_point(client):
    found = client.predict(["vit_gap_cifar"], "image", [32, 33], 0.2, api_name="/measure")
    assert [point["value"] for point in found] == ["32", "33"]
    assert found[0]["latency"]["height"] == 32 and found[0]["latency"]["peak_bytes"] > 0
    assert found[1]["latency"] is None and "choose a height and a width" in found[1]["problem"]


def test_models_and_checkpoints_say_what_to_take(client):
    (first, second) = client.predict("", 2, api_name="/models")
    assert first["offline"]
    assert first["top1"] >= second["top1"]
    (exact, *_) = client.predict("resnet18.a1_in1k", api_name="/checkpoints")
    row = zoo.checkpoint("resnet18.a1_in1k")
    assert exact["name"] == row.name
    assert exact["input_size"] == [*row.size]
    assert (exact["classes"], exact["data_set"], exact["top1"]) == (1000, "ImageNet", row.top1)
    everything = client.predict("", 2000, api_name="/checkpoints")
    assert [answer["offline"] for answer in everything] == sorted((a["offline"] for a in everything), reverse=True)
    assert {answer["name"] for answer in everything} == set(zoo.checkpoints())


def test_a_latency_says_how_it_was_measured(client):
    timing = client.predict("resnet20_cifar", 0.2, api_name="/latency")
    assert 0 < timing["median_ms"] <= timing["p90_ms"]
    assert "median" in timing["method"] and timing["way"] == "fast"
    plain = client.predict("resnet20_cifar", 0.2, "plain", api_name="/latency")
    assert plain["way"] == "plain" and "as it is written" in plain["method"]


def test_a_less_exact_classification_says_how_far_its_outputs_moved(client):
    exact, less = (client.predict(handle_file(LION), LITE, 5, how, api_name="/classify") for how in PRECISIONS)
    assert exact["note"] is None and less["note"].startswith("The guesses are computed in bfloat16: no output moved by")
    (first, *_), (same, *_) = exact["guesses"], less["guesses"]
    assert first["label"] == same["label"] and 0 < abs(first["probability"] - same["probability"]) < 0.1


@pytest.mark.parametrize(
    ("endpoint", "arguments", "sentence"),
    [
        ("/classify", {"model": 5}, "Wrong model: input should be a valid string."),
        ("/classify", {"model": None}, "Wrong model: input should be a valid string."),
        ("/classify", {"model": "5"}, "There is no architecture '5'."),
        ("/classify", {"model": "resnet5000.x"}, "There is no checkpoint 'resnet5000.x'"),
        ("/classify", {"model": 81 * "x"}, "Wrong model: string should have at most 80 characters."),
        ("/classify", {"model": CIFAR, "top": 0}, "Wrong top: input should be greater than or equal to 1."),
        ("/classify", {"model": CIFAR, "top": "many"}, "Wrong top: input should be a valid integer"),
        ("/classify", {"model": CIFAR, "photo": None}, "There is no photo: send a file"),
        ("/classify", {"model": CIFAR, "photo": "lion.jpg"}, "There is no photo: send a file"),
        ("/classify", {"model": CIFAR, "photo": {"path": str(LION)}}, REFUSED),
        ("/explain", {"model": CIFAR, "method": "x"}, "There is no such explanation: method is one of grad_cam, "),
        ("/explain", {"model": CIFAR, "method": ""}, "There is no such explanation: method is one of grad_cam, "),
        ("/explain", {"model": CIFAR, "method": "rollout"}, "There is no attention to show"),
        ("/explain", {"model": CIFAR, "target": 3}, "Wrong target: input should be a valid string."),
        ("/explain", {"model": CIFAR, "target": "unicorn"}, "No class is called 'unicorn'"),
        ("/explain", {"model": CIFAR, "layer": "stage99"}, "This model has no layer called 'stage99'"),
        ("/explain", {"model": CIFAR, "place": [2, 0]}, "Wrong place: input should be less than or equal to 1."),
        ("/latency", {"model": "resnet18", "seconds": -1}, "Wrong seconds: input should be greater than 0."),
        ("/latency", {"model": {}}, "Wrong model: input should be a valid string."),
        ("/compare", {"photos": [], "models": [CIFAR, LITE], "methods": []}, "There is no photo: send a file"),
        ("/compare", {"photos": ["x.jpg"], "models": [CIFAR, LITE], "methods": []}, "There is no photo: send a file"),
        ("/compare", {"photos": [{"path": str(LION)}], "models": [CIFAR, LITE], "methods": []}, REFUSED),
        ("/measure", {"models": []}, "One to 4 models"),
        ("/measure", {"models": [CIFAR], "vary": "x"}, "Wrong vary: input should be 'batch', 'image', 'threads' or"),
        ("/models", {"query": 5}, "Wrong query: input should be a valid string."),
        ("/models", {"query": "", "limit": "all"}, "Wrong limit: input should be a valid integer"),
    ],
)
def test_a_wrong_argument_is_told_in_a_sentence(client, endpoint, arguments, sentence):
    if endpoint in ("/classify", "/explain"):
        arguments = {"photo": handle_file(LION)} | arguments
    with pytest.raises(AppError) as refused:
        client.predict(**arguments, api_name=endpoint)
    assert sentence in refused.value.message
    assert str(LION.parent) not in refused.value.message


def test_a_broken_photo_is_told_in_the_words_of_the_page(client, tmp_path):
    (tmp_path / "text.jpg").write_text("this is no photo")
    with pytest.raises(AppError, match="is damaged or not a photo"):
        client.predict(handle_file(tmp_path / "text.jpg"), CIFAR, api_name="/explain")


def raw(url: str, endpoint: str, data: list) -> str:
    """Ask without a client, as any program can; the sentence of the error."""
    body = json.dumps({"data": data}).encode()
    asked = urllib.request.Request(f"{url}gradio_api/call{endpoint}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{url}gradio_api/call{endpoint}/{event}") as answer:
        kind, told = answer.read().decode().split("\n")[:2]
    assert kind == "event: error"
    return json.loads(told.removeprefix("data: "))["error"]


def test_only_what_was_uploaded_is_opened(url, tmp_path):
    """A file that is not there gets the same sentence as one that is, and an address is not fetched."""
    (tmp_path / "there.png").write_bytes(LION.read_bytes())
    meta = {"meta": {"_type": "gradio.FileData"}}
    paths = [str(tmp_path / "there.png"), str(tmp_path / "not.png"), "/", "\0", "../../etc/hostname"]
    told = {raw(url, "/classify", [{"path": path, **more}, CIFAR, 5]) for path in paths for more in ({}, meta)}
    assert told <= {door.REFUSED, door.MALFORMED}
    there, missing = (raw(url, "/classify", [{"path": path, **meta}, CIFAR, 5]) for path in paths[:2])
    assert there == missing == door.REFUSED
    assert raw(url, "/classify", [{"path": "http://192.0.2.1/lion.jpg", **meta}, CIFAR, 5]) == door.REFUSED


def test_missing_arguments_are_told_in_a_sentence(url):
    for endpoint in ("/classify", "/explain", "/latency", "/models"):
        assert raw(url, endpoint, []) == door.MALFORMED
