"""The tables agree with the reference, and every name in them can be resolved."""

import dataclasses
import importlib
import re
import subprocess
import sys

import pytest

import zoo
from zoo import catalogue
from zoo.catalogue import accuracy, all_families, checkpoint, checkpoints, family_of, for_architecture
from zoo.labels import COUNTS

PARADIGMS = {
    *("convolution", "attention", "window attention", "pooled attention", "channel attention", "hybrid"),
    *("MLP", "pooling", "modulation", "recurrent", "state space"),
}
USES = {
    "general",
    "mobile",
    "CPU",
    "GPU throughput",
    "dense prediction",
    "features",
    "image-text",
    "research",
    "teaching",
}
TRAININGS = {
    *("supervised", "semi-supervised", "self-supervised", "distillation"),
    *("contrastive image-text", "multimodal"),
}
NOT_TIMMS = "faster_vit*"  # their package adds them to timm's list
PUBLISHED = {name: c for name, c in checkpoints().items() if not c.bundled and not c.package}


def test_a_checkpoint_by_hand():
    c = checkpoint("resnet50.a1_in1k")
    assert (c.architecture, c.tag, c.size, c.crop, c.num_classes) == ("resnet50", "a1_in1k", (224, 224), 0.95, 1000)
    assert (c.mode, c.interpolation, c.labels, c.license) == ("center", "bicubic", "in1k", "apache-2.0")
    assert (c.source, c.test_size, c.test_crop) == ("timm/resnet50.a1_in1k", (288, 288), 1.0)
    assert c.family and c.family.paper == "1512.03385"
    assert c.at_test().size == (288, 288) and c.at_test().crop == 1.0
    assert not c.bundled


def test_a_size_that_is_not_square_is_height_first():
    assert checkpoint("vit_huge_patch16_sapiens2.fb").size == (1024, 768)


def test_a_thousand_outputs_need_not_be_classes():
    c = checkpoint("resmlp_12_224.fb_dino")
    assert (c.num_classes, c.labels, c.top1) == (1000, None, None)


def test_labels_fit_the_outputs():
    for c in checkpoints().values():
        assert c.labels is None or c.num_classes == COUNTS[c.labels], c.name


def test_the_first_checkpoint_is_the_default():
    assert for_architecture("resnet50")[0] == next(iter(checkpoints("resnet50.*").values()))
    assert for_architecture("no_such") == []


def test_an_unknown_name_is_refused_with_similar_names():
    with pytest.raises(KeyError, match=r"resnet50\.a1_in1k"):
        checkpoint("resnet50.a1_in2k")


def test_accuracy():
    figures = accuracy("resnet50.a1_in1k")
    assert set(figures) >= {224, 288}
    assert checkpoint("resnet50.a1_in1k").top1 == figures[224].imagenet[0] < figures[288].imagenet[0]
    assert accuracy("resnet50.tv_in1k")[224].a is None
    assert accuracy("no_such.checkpoint") == {}


def test_accuracies_belong_to_checkpoints_and_are_per_cent():
    for name, sizes in catalogue._accuracies().items():
        assert name in PUBLISHED
        for figures in sizes.values():
            for pair in filter(None, dataclasses.astuple(figures)):
                assert 0 <= pair[0] <= pair[1] <= 100


def test_bundled_rows_come_first_and_know_whether_their_file_is_there(tmp_path, monkeypatch):
    (tmp_path / "bundled.tsv").write_text("name\ttop1\na_cifar.cifar10\t91.5\nb_cifar.cifar10\t\n")
    (tmp_path / "a_cifar.cifar10.safetensors").touch()
    monkeypatch.setattr(catalogue, "BUNDLED", tmp_path)
    catalogue._checkpoints.cache_clear()
    try:
        found = checkpoints("*_cifar.*")
        assert list(found) == ["a_cifar.cifar10", "b_cifar.cifar10"] == list(checkpoints())[:2]
        assert [row.bundled for row in found.values()] == [True, False]
        c = found["a_cifar.cifar10"]
        assert c.bundled and (c.size, c.crop, c.num_classes, c.top1) == ((32, 32), 1.0, 10, 91.5)
        assert (c.labels, c.mean, c.source) == ("cifar10", (0.4914, 0.4822, 0.4465), "bundled")
    finally:
        catalogue._checkpoints.cache_clear()


def test_bundled_table_names_architectures_with_families():
    rows = list(catalogue._rows(catalogue.BUNDLED / "bundled.tsv"))
    assert rows and all(family_of(row["name"].partition(".")[0]) for row in rows)


def test_families():
    rows = all_families()
    assert len(rows) == len({f.name for f in rows})
    for f in rows:
        assert f.paradigm in PARADIGMS and f.use_case in USES, f.name
        assert set(f.training.split(", ")) <= TRAININGS, f.name
        assert f.sentence.endswith(".") and 40 < len(f.sentence) < 180, f.name
        assert 2012 <= f.year <= 2026 and f.license, f.name
        if re.search(r"\d{4}\.\d{4}", f.paper):
            assert re.fullmatch(r"\d{4}\.\d{4,5}(, \d{4}\.\d{4,5})*", f.paper), f.name
            assert any(f.year - 2000 == int(paper[:2]) for paper in f.paper.split(", ")) or f.name in LATER, f.name


# Families whose models came years after the paper that they follow.
LATER = {"ViT (SBB recipe)", "NaFlexViT", "ViT with relative positions"}


def test_the_list_is_not_hidden_by_the_package_of_families():
    importlib.import_module("zoo.families.resnet")  # this binds zoo.families to that package
    assert zoo.all_families()


def test_an_architecture_has_one_family():
    every = [a for f in all_families() for a in f.architectures]
    assert len(every) == len(set(every))
    assert set(zoo.names()) == set(every)
    assert all(c.family and c.architecture in every for c in checkpoints().values())


def test_a_checkpoint_may_follow_another_paper_than_its_architecture():
    wsl = checkpoint("resnext101_32x8d.fb_wsl_ig1b_ft_in1k")
    assert wsl.family and wsl.family.name == "WSL / SSL / SWSL pretrained"
    assert family_of(wsl.architecture).name == "ResNeXt"
    assert checkpoint("vit_base_patch16_siglip_224.v2_webli").family.name == "SigLIP 2 (image encoder)"


def test_globs_of_families_match_something():
    for f in all_families():
        assert all(checkpoints(glob) for glob in f.checkpoints), f.name


def test_the_catalogue_is_read_without_torch():
    script = (
        "import sys, zoo; zoo.checkpoints(); zoo.all_families(); zoo.all_local(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.oracle
def test_equal_to_timm():
    timm = pytest.importorskip("tools.oracle", exc_type=ImportError).timm
    names = set(timm.list_pretrained(exclude_filters=NOT_TIMMS))
    assert len(names) == 1826
    assert names <= set(PUBLISHED)
    for name in names:
        c, cfg = checkpoint(name), timm.models.get_pretrained_cfg(name)
        for ours, at_test in ((c, False), (c.at_test(), True)):
            theirs = timm.data.resolve_data_config(pretrained_cfg=cfg.to_dict(), use_test_size=at_test)
            mine = {
                "input_size": (3, *ours.size),
                "interpolation": ours.interpolation,
                "mean": ours.mean,
                "std": ours.std,
                "crop_pct": ours.crop,
                "crop_mode": ours.mode,
            }
            assert mine == {k: tuple(v) if isinstance(v, list) else v for k, v in theirs.items()}, name
        assert (c.source, c.num_classes) == (cfg.hf_hub_id or cfg.url, cfg.num_classes), name
        assert c.license == (cfg.license or "unstated"), name


@pytest.mark.oracle
def test_defaults_are_timms():
    timm = pytest.importorskip("tools.oracle", exc_type=ImportError).timm
    offered = set(timm.list_pretrained(exclude_filters=NOT_TIMMS))
    for architecture in timm.list_models(exclude_filters=NOT_TIMMS):
        assert family_of(architecture), architecture
        tags = timm.models._registry._model_default_cfgs[architecture].tags
        theirs = [name for tag in tags if (name := f"{architecture}.{tag}") in offered]
        assert [c.name for c in for_architecture(architecture) if not c.package] == theirs


def test_published_speeds_are_of_checkpoints_and_fall_with_the_multiply_adds():
    found = {name: catalogue.throughput(name) for name in catalogue.checkpoints("faster_vit_?_224.*")}
    assert [speed.images_per_second for speed in found.values()] == [5802, 4188, 3161, 1780, 849, 449, 352]
    assert {(speed.device, speed.paper) for speed in found.values()} == {("NVIDIA A100, batch 128", "2306.06189")}
    assert set(catalogue._throughputs()) == set(found)
    assert catalogue.throughput("resnet50.a1_in1k") is None
