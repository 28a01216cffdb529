"""Class names: as many as there are outputs, all different, in the published order."""

import pytest

from zoo.labels import COUNTS, FOLDER, LETTERS, names, synsets


@pytest.mark.parametrize("label_set", COUNTS)
def test_as_many_names_as_outputs_and_no_two_the_same(label_set):
    found = names(label_set)
    assert len(found) == len(set(found)) == COUNTS[label_set]
    assert all(name == name.strip() and "_" not in name for name in found)


def test_names_by_hand():
    in1k = names("in1k")
    assert (in1k[0], in1k[207], in1k[999]) == ("tench", "golden retriever", "toilet tissue")
    assert in1k[134] == "crane (bird)" and in1k[517] == "crane (lifting machine)"
    assert in1k[638] != in1k[639] and in1k[639] == "maillot (tank suit)"
    assert names("cifar10")[:3] == ("airplane", "automobile", "bird")


def test_microsofts_order_puts_the_challenge_first():
    assert names("in22k-ms")[0] == "tench"
    assert synsets("in22k-ms")[:1000] == synsets("in1k")


def test_a_note_is_given_only_where_names_collide():
    assert sum("(" in name for name in names("in1k")) == 4


def test_an_unknown_set():
    with pytest.raises(KeyError, match="in1k"):
        names("in2k")


def test_the_table_is_sorted_and_small():
    file = FOLDER / "wordnet.tsv"
    rows = file.read_text(encoding="utf-8").splitlines()[1:]
    assert rows == sorted(rows) and len(rows) == 21844
    assert file.stat().st_size < 700_000


@pytest.mark.oracle
@pytest.mark.parametrize("label_set", [*LETTERS, "in22k-ms"])
def test_orders_are_the_published_ones(label_set):
    timm = pytest.importorskip("tools.oracle", exc_type=ImportError).timm
    subset = {"in1k": "imagenet-1k", "in12k": "imagenet-12k"}.get(label_set, label_set.replace("in2", "imagenet-2"))
    info = timm.data.ImageNetInfo(subset)
    assert list(synsets(label_set)) == info.label_names()
    for synset, name in zip(synsets(label_set), names(label_set), strict=True):
        assert name.split(" (")[0] == info.label_name_to_description(synset).split(", ")[0]
