"""The values that a golden's header gives for a variant."""

import pytest

from tools import golden_file
from tools.golden_file import Golden


def test_the_last_matching_line_counts():
    golden = Golden(['# cut: {"layers": [1]} -> {"depths": [1]}', "# cut *_gn: {}", "# bench: resnet18 resnet50"], [])
    assert golden.cut("resnet18") == ({"layers": [1]}, {"depths": [1]})
    assert golden.cut("resnet50_gn") == ({}, {})
    assert golden.bench == ["resnet18", "resnet50"]
    assert golden.size("resnet18") is None and Golden([], []).cut("resnet18") is None


def test_sizes_in_pixels_and_in_patches():
    assert Golden(["# size: 64x96"], []).size("resnet18") == (64, 96)
    assert Golden(["# size: 4x6 patches"], []).size("vit_small_patch32_224") == (128, 192)
    square = Golden(["# img_size: 4 patches"], [])
    assert square.size("vit_huge_patch14_224") == (56, 56)
    assert square.fitted("vit_huge_patch14_224") == {"img_size": 56}
    assert Golden(["# size: 64x96"], []).fitted("resnet18") == {}


def test_widths_by_the_head_keep_the_number_of_heads():
    golden = Golden(['# cut: {"embed_dim": "16 a head"} -> {"dim": "16 a head"}', '# light: {"depth": 1}'], [])
    assert golden.cut("vit_base_patch16_224") == ({"embed_dim": 192}, {"dim": 192})
    assert golden.cut("swin_base_patch4_window7_224") == ({"embed_dim": 64}, {"dim": 64})  # heads of the first stage
    assert golden.light("vit_base_patch16_224") == {"dim": 192, "depth": 1}


def test_an_unknown_word_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(golden_file, "GOLDENS", tmp_path)
    (tmp_path / "new.tsv").write_text("# sizes: 64x96\n")
    with pytest.raises(ValueError, match=r"new\.tsv has the line '# sizes: 64x96'"):
        golden_file.read("new")
    assert golden_file.read("newer") == Golden([], [])
