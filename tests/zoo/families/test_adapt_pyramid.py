"""Files of PiT's and TNT's authors and of Florence-2 are converted as timm converts them."""

import re

import pytest
import torch

import zoo
from zoo.registry import create_meta, variant

oracle = pytest.importorskip("tools.oracle", exc_type=ImportError)
pytestmark = pytest.mark.oracle

FLORENCE = (  # from the reference's keys to those of a file
    (r"^stem\.conv\.", "convs.0.proj."),
    (r"^stem\.", "convs.0."),
    (r"^stages\.(\d+)\.downsample\.conv\.", r"convs.\1.proj."),
    (r"^stages\.(\d+)\.downsample\.", r"convs.\1."),
    (r"^stages\.(\d+)\.blocks\.", r"blocks.\1."),
    (r"\.spatial_block\.norm1\.", ".spatial_block.window_attn.norm."),
    (r"\.channel_block\.norm1\.", ".channel_block.channel_attn.norm."),
    (r"\.spatial_block\.attn\.", ".spatial_block.window_attn.fn."),
    (r"\.channel_block\.attn\.", ".channel_block.channel_attn.fn."),
    (r"\.norm2\.", ".ffn.norm."),
    (r"\.mlp\.", ".ffn.fn.net."),
    (r"\.cpe(\d)\.proj\.", r".conv\1.fn.dw."),
    (r"^", "vision_tower."),
)
AUTHORS = (
    (r"^patch_pos", "outer_pos"),
    (r"^pixel_pos", "inner_pos"),
    (r"^pixel_embed", "patch_embed"),
    (r"norm(\d)_proj", r"proj_norm\1"),
    (r"\.norm_in\.", ".inner_norm1."),
    (r"\.norm_mlp_in\.", ".inner_norm2."),
    (r"\.(attn|mlp)_in\.", r".inner_\1."),
    (r"\.norm_out\.", ".outer_norm1."),
    (r"\.norm_mlp\.", ".outer_norm2."),
    (r"\.attn_out\.", ".outer_attn."),
    (r"\.mlp\.", ".outer_mlp."),
)
POOLS = ((r"^transformers\.1\.pool\.", "pools.0."), (r"^transformers\.2\.pool\.", "pools.1."))


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("davit_base_fl", FLORENCE),
        ("tnt_s_patch16_224", AUTHORS),
        ("tnt_s_legacy_patch16_224", AUTHORS),
        ("pit_ti_224", POOLS),
    ],
)
def test_files_are_converted_as_timm_converts_them(name, renamed):
    theirs = oracle.reference(name)
    native = {key: torch.full(value.shape, i) for i, (key, value) in enumerate(theirs.state_dict().items())}
    file = {}
    for key, value in native.items():
        for old, new in renamed:
            key = re.sub(old, new, key)
        file[key] = value
    if name == "davit_base_fl":  # whose head has no norm
        file = {key: value for key, value in file.items() if "head.norm" not in key} | {
            "image_projection": torch.ones(2)
        }
    if name == "tnt_s_patch16_224":
        file["inner_pos"] = torch.arange(16 * 24).view(1, 16, 24)
    convert = vars(__import__(type(theirs).__module__, fromlist=["_"]))["checkpoint_filter_fn"]
    expected, adapted = convert(dict(file), theirs), variant(name)[0].adapt(dict(file))
    assert set(create_meta(name).state_dict()) == set(adapted)
    assert all(torch.equal(adapted[key], value) for key, value in expected.items())
    assert adapted.keys() - expected.keys() <= {"head.norm.weight", "head.norm.bias"}
    zoo.create_from(name, {key: value.float() for key, value in adapted.items()})
