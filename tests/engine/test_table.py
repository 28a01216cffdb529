"""The table of models: filters, orders, the Pareto front, and what is near a model."""

from dataclasses import replace

import pytest

import zoo
from engine import EngineError
from engine.table import COLUMNS, FACETS, Wanted, find, front, lines, nearest, terms
from zoo.catalogue import figures

LITE = "tf_efficientnet_lite0.pypi_in1k"


def line(name):
    return next(line for line in lines() if line.name == name)


def made(top1, macs, name="a"):
    """A line of which only accuracy and multiply-adds matter."""
    given = line(LITE)
    return replace(given, name=name, row=replace(given.row, top1=top1), figures=given.figures._replace(macs=macs))


def test_every_checkpoint_of_an_architecture_has_a_line_and_so_has_every_architecture_without_one():
    assert {each.architecture for each in lines()} == set(zoo.names())
    assert {each.name for each in lines() if each.row} == set(zoo.checkpoints())
    assert all(each.row or not zoo.for_architecture(each.name) for each in lines())


def test_a_line_says_what_its_own_size_and_classes_cost():
    assert line("resnet50.a1_in1k").figures.macs == zoo.cost("resnet50", zoo.checkpoint("resnet50.a1_in1k").size).macs
    many, few = line("convnext_tiny.fb_in22k"), line("convnext_tiny.fb_in1k")
    assert many.figures.parameters - few.figures.parameters == (many.row.num_classes - 1000) * 769
    assert set(figures()) >= {(each.architecture, *each.size, each.row.num_classes) for each in lines() if each.row}


def test_values_of_one_filter_add_and_filters_restrict_each_other():
    both = find(Wanted(facets={"Paradigm": ["MLP", "pooling"], "Classes": ["in1k"]}), lines())
    assert {each.family.paradigm for each in both} == {"MLP", "pooling"}
    assert {each.labels for each in both} == {"in1k"}
    alone = [find(Wanted(facets={"Paradigm": [one], "Classes": ["in1k"]}), lines()) for one in ("MLP", "pooling")]
    assert len(both) == sum(map(len, alone))
    assert {name for each in lines() for name in FACETS["Training"](each)} >= {"supervised", "distillation"}
    assert find(Wanted(query="resnet50.a1_in1k"), lines())[0].name == "resnet50.a1_in1k"


def test_what_cannot_be_searched_is_told():
    with pytest.raises(EngineError, match="at most 80 characters"):
        find(Wanted(query=81 * "x"), lines())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("column", COLUMNS)
def test_an_order_puts_the_best_first_and_what_is_unknown_last(column, reverse):
    values = [COLUMNS[column](each) for each in find(Wanted(order=column, reverse=reverse), lines())]
    known = [value for value in values if value is not None]
    assert values[: len(known)] == known and len(values) == len(lines())
    high = column in ("top1", "real", "v2", "a", "r", "sketch", "year")
    assert known == sorted(known, reverse=high != reverse)


def test_only_what_nothing_cheaper_beats_is_on_the_front():
    among = [made(70, 1, "a"), made(80, 3, "b"), made(75, 2, "c"), made(79, 4, "d"), made(80, 5, "e"), made(75, 1, "f")]
    assert [each.name for each in front(among, lambda each: each.figures.macs)] == ["f", "b"]
    unknown = replace(made(99, 0), row=replace(line(LITE).row, top1=None))
    assert front([unknown], lambda each: each.figures.macs) == []


def test_alternatives_are_what_they_say():
    given = line("resnet50.a1_in1k")
    found = {reason: other for other, reason in nearest(given, lines())}
    assert len(found) == 5 and len({other.architecture for other in found.values()} - {"resnet50"}) == 5
    better = [other for other in lines() if other.labels == "in1k" and (other.top1 or 0) >= given.top1]
    assert found["the smallest that is as accurate"].figures.parameters == min(
        other.figures.parameters for other in better
    )
    alike = found["the most accurate of about this size"]
    assert 0.8 <= alike.figures.parameters / given.figures.parameters <= 1.25 and alike.top1 > given.top1
    foreign = found["as accurate within a point, of another paradigm"]
    assert abs(foreign.top1 - given.top1) <= 1 and foreign.family.paradigm != "convolution"


def test_a_model_without_accuracy_has_alternatives_of_its_kind():
    given = line("resnet110_cifar")
    assert given.row is None and given.top1 is None
    (other, reason), *_ = nearest(given, lines())
    assert reason == "the nearest in size of its family" and other.family == given.family


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("apache-2.0", "any use"),
        ("bsd-3-clause", "any use"),
        ("cc-by-4.0", "any use"),
        ("cc-by-nc-4.0", "no commercial use"),
        ("nvidia-source-code-license-nc", "no commercial use"),
        ("fair-noncommercial-research-license", "no commercial use"),
        ("apple-amlr", "no commercial use"),
        ("dinov3-license", "read its terms"),
        ("unknown", "not stated"),
        ("unstated", "not stated"),
    ],
)
def test_what_a_licence_allows(licence, told):
    assert terms(licence) == told


def test_the_paradigm_is_that_of_the_architecture_whatever_paper_the_checkpoint_is_of():
    found = {line.name: line for line in lines()}
    dino = found["convnext_tiny.dinov3_lvd1689m"]
    assert (dino.family.name, dino.paradigm) == ("DINOv3", "convolution")
    vit = found["vit_small_plus_patch16_dinov3.lvd1689m"]
    assert {other.paradigm for other, reason in nearest(vit, lines()) if reason == "the nearest of its kind"} == {
        "attention"
    }
