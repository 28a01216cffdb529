"""Every name has one class, one config and one file."""

import subprocess
import sys

import pytest
import torch

import zoo
from tests.models import FAMILIES
from zoo.meta import Unfilled
from zoo.registry import create_meta, register, source, variant


def test_the_file_of_a_variant_contains_its_name():
    for name in zoo.names():
        assert f'"{name}": ' in source(name).read_text(), name


def test_a_variants_file_may_differ_from_the_file_of_its_class():
    name = "vit_base_patch16_siglip_224"
    assert source(name).stem == "siglip"
    assert variant(name)[0].__module__ == "zoo.families.vit"


def test_an_unknown_name_is_refused_with_similar_names():
    with pytest.raises(KeyError, match=r"no architecture 'resnet51'.*resnet50"):
        source("resnet51")


@pytest.mark.parametrize(("typed", "known"), [("nasnet", "nasnetalarge"), ("swin_v2", "swinv2_"), ("Hiera", "hiera_")])
def test_names_that_begin_with_what_was_typed_are_suggested_first(typed, known):
    with pytest.raises(KeyError, match=f"similar names are {known}"):
        source(typed)


def test_a_letter_suggests_no_names():
    with pytest.raises(KeyError, match=r"There is no architecture '5'\.\"$"):
        zoo.create("5")


def test_a_name_is_registered_once():
    model, cfg = variant("resnet18")
    with pytest.raises(ValueError, match="resnet18 is registered twice"):
        register(model, {"resnet18": cfg})


def test_a_model_on_the_meta_device_has_the_shapes_of_the_real_one():
    for name in ("test_vit2", "mobilenetv2_cifar", "swin_cifar"):
        hollow, real = (build(name).state_dict() for build in (create_meta, zoo.create))
        assert {k: (v.shape, v.dtype) for k, v in hollow.items()} == {k: (v.shape, v.dtype) for k, v in real.items()}
        assert all(v.is_meta for v in hollow.values())


def test_only_tensors_on_the_meta_device_stay_unfilled():
    state = torch.get_rng_state()
    with torch.device("meta"), Unfilled():
        assert torch.full((2,), 3.0, device="cpu").mul_(2).tolist() == [6, 6]
        assert torch.nn.init.normal_(torch.empty(2)).is_meta
        assert torch.empty(2).fill_(1).is_meta
    assert torch.equal(state, torch.get_rng_state())


def test_building_for_a_checkpoint_does_not_import_pytorchs_compiler():
    """It takes longer to import than the weights to load. A new process, because other tests have imported it."""
    script = """
import sys
from zoo.registry import create_meta
for name in sys.argv[1:]:
    create_meta(name)
    assert "torch._dynamo" not in sys.modules, name
"""
    one_of_each = [names[0] for names in FAMILIES.values()]
    ran = subprocess.run([sys.executable, "-c", script, *one_of_each], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
