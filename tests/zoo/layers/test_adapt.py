"""Published files in another layout: each field of a Layout does what it says, and other files are not changed."""

import torch

from zoo.layers.adapt import Layout, adapt

LAYOUT = Layout(
    marker=r"^image\.stem\.",
    under=r"image\.",
    unused=r"^decoder\.",
    projection=r"^proj$",
    renamed=((r"^stem\.", "conv1."), (r"^conv(\d)\.", r"convs.\1.")),
    reshaped={"table": lambda table: table[None]},
)
KERNEL, TABLE, MATRIX = torch.randn(2, 3), torch.randn(4, 2), torch.randn(2, 5)


def test_a_file_is_unwrapped_renamed_and_reshaped_and_its_projection_becomes_the_last_layer():
    published = {"image.stem.weight": KERNEL, "image.table": TABLE, "image.proj": MATRIX}
    found = adapt(published | {"image.decoder.weight": KERNEL, "text.weight": KERNEL}, (LAYOUT,), "head")
    expected = {"convs.1.weight": KERNEL, "table": TABLE[None], "head.weight": MATRIX.T, "head.bias": torch.zeros(5)}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_file_without_the_marker_stays_as_it_is():
    native = {"convs.1.weight": KERNEL, "image.table": TABLE, "head.weight": MATRIX}
    assert adapt(native, (LAYOUT,), "head") == native


def test_open_clips_last_layer_is_found_outside_the_trunk():
    published = {"visual.trunk.head.proj.weight": KERNEL, "visual.head.proj.weight": MATRIX, "text.weight": KERNEL}
    found = adapt(published, (), "last")
    assert found.keys() == {"head.proj.weight", "last.weight", "last.bias"}
    assert found["head.proj.weight"] is KERNEL and found["last.weight"] is MATRIX
    assert found["last.bias"].tolist() == [0.0, 0.0]
