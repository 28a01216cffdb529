"""The class that a file's name says."""

import pytest

import engine
import zoo

LITE = zoo.checkpoint("tf_efficientnet_lite0.pypi_in1k")
NAMES, SYNSETS = engine.class_names(LITE), engine.synsets(LITE)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("lion.jpg", "lion"),
        ("LION.JPG", "lion"),
        ("cheetah1.jpg", "cheetah"),
        ("golden_retriever-3.jpg", "golden retriever"),
        ("my golden retriever (2).jpeg", "golden retriever"),
        ("GoldenRetriever.png", "golden retriever"),
        ("sea_lion.jpg", "sea lion"),
        ("SeaLion2.jpg", "sea lion"),
        ("photos/of/lion.jpg", "lion"),
        ("lion", "lion"),
        ("lion_and_lion.jpg", "lion"),
        ("crane-bird.jpg", "crane (bird)"),
        ("dandelion.jpg", None),
        ("lions.jpg", None),
        ("sealion.jpg", None),
        ("lion_and_sea_lion.jpg", None),
        ("lion-cheetah.jpg", None),
        ("crane.jpg", None),
        ("crane_lion.jpg", None),
        ("IMG_2031.jpg", None),
        ("jpg", None),
        (".lion", "lion"),
        ("", None),
        ("lion/cat.txt", None),
    ],
)
def test_a_name_between_the_borders_of_words(file, says):
    found = engine.truth_from_name(file, NAMES)
    assert (None if found is None else NAMES[found]) == says


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0.pypi_in1k", "resnet32_cifar.cifar10"])
def test_every_class_is_found_by_its_own_name_unless_only_case_tells_it_from_another(name):
    names = engine.class_names(zoo.checkpoint(name))
    lower = [text.lower() for text in names]
    for i, text in enumerate(names):
        found = engine.truth_from_name(f"{text.replace(' ', '_')}_1.jpg", names)
        assert found == (i if lower.count(text.lower()) == 1 else None)


def test_a_typed_class_is_told_from_one_that_differs_in_case():
    assert [NAMES[engine.find_class(LITE, text)] for text in ("Cardigan", "cardigan")] == ["Cardigan", "cardigan"]
    with pytest.raises(engine.EngineError, match="fits 2 classes"):
        engine.find_class(LITE, "CARDIGAN")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("n02130308_12.JPEG", "cheetah"),
        ("ILSVRC_n02130308.jpg", "cheetah"),
        ("n02130308_lion.jpg", "cheetah"),
        ("n02130308_n02129165.jpg", None),
        ("n99999999_lion.jpg", "lion"),
        ("n021303081.jpg", None),
        ("xn02130308.jpg", None),
    ],
)
def test_a_wordnet_id(file, says):
    found = engine.truth_from_name(file, NAMES, SYNSETS)
    assert (None if found is None else NAMES[found]) == says
    assert engine.truth_from_name("n02130308_12.JPEG", NAMES) is None


def test_classes_without_wordnet_ids():
    assert engine.synsets(zoo.checkpoint("resnet32_cifar.cifar10")) == ()
    assert engine.synsets(engine.recipe("resnet50")) == ()
    assert SYNSETS[NAMES.index("cheetah")] == "n02130308"
