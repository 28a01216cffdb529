"""A choice becomes an address and comes back from it; what an address asks for in vain is told."""

from html import unescape

import gradio as gr
import pytest
from starlette.datastructures import QueryParams

from engine import Request
from ui import explore, link, uploads

FIRST = "tf_efficientnet_lite0.pypi_in1k"


def read(query: str) -> link.Linked:
    visit = gr.Request()
    visit.query_params = QueryParams(query)
    return link.read(visit, FIRST)


@pytest.mark.parametrize(
    "request_",
    [
        Request(FIRST),
        Request("test_vit2", "attention", layer="3", head=1),
        Request(FIRST, "occlusion", "lion", "sea lion & co", precision="bfloat16", signed=True, together=True),
    ],
)
def test_a_choice_comes_back(request_):
    photos = [uploads.example("lion.jpg"), uploads.example("cheetah.jpg")]
    found = read(link.write(request_, photos, 0.3))
    assert found == link.Linked(request_, ("lion.jpg", "cheetah.jpg"), 0.3)


def test_a_visitor_s_own_photos_are_not_in_a_link():
    own = uploads.Photo(path="/tmp/gradio/abc/me.jpg", url="", name="me.jpg", truth="")
    assert link.write(Request(FIRST), [own]) == f"model={FIRST}"


def test_switches_are_on_where_they_are_named_but_not_where_they_are_zero():
    visit = gr.Request()
    for query, on in (("signed=1", True), ("signed", True), ("signed=0", False), ("signed=false", False), ("", False)):
        visit.query_params = QueryParams(query)
        assert link.read(visit, "resnet20_cifar").request.signed is on


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("model=resnet5000", "There is no architecture 'resnet5000'"),
        ("model=test_vit2&method=attention&layer=99", "test_vit2 has no layer '99' to show"),
        ("model=test_vit2&method=attention&head=99", "test_vit2 has no head '99' to show"),
        ("model=resnet20_cifar&method=attention", "convolutions alone. Grad-CAM is shown in place of Attention."),
        ("model=test_vit2&head=two", "The head in this link is not the number of one"),
        ("model=test_vit2&method=attention&head=-7", "The head in this link is not the number of one"),
        ("model=test_vit2&method=attention&head=1.7", "The head in this link is not the number of one"),
        ("precision=int4", "There is no precision 'int4', which this link names: float32 is used."),
        ("opacity=nan", "The opacity in this link is not a number from 0 to 1"),
        ("opacity=5", "The opacity in this link is not a number from 0 to 1"),
        ("model=tf_efficientnet_lite0.pypi_in1k&class=unicorn", "No class is called 'unicorn'"),
        ("model=tf_efficientnet_lite0.pypi_in1k&against=99999", "there is no class 99999"),
        (f"{'photo=lion.jpg&' * 13}", "more than 12 photos: the first 12 are shown"),
        ("method=tea_leaves", "'tea_leaves', which does not exist"),
        ("photo=../../etc/passwd", "names an example photo that does not exist"),
    ],
)
def test_what_is_not_there_is_told_and_something_else_is_shown(query, sentence):
    visit = gr.Request()
    visit.query_params = QueryParams(query)
    outputs = explore.restore(None, visit)
    assert any(isinstance(value, str) and sentence in unescape(value) for value in outputs)
    assert outputs[-1].startswith("changed ")  # an answer is asked for
