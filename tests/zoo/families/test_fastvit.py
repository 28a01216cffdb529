"""FastViT and MobileCLIP: branches that equal one convolution, attention in the last stages, Apple's file layouts."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import explain
import zoo
from tests.models import build
from tools.fill import fill, noise_image
from zoo.families.fastvit import LargeKernelConv, MobileOne, PositionConv, RepMixer
from zoo.layers.attention import SelfAttention
from zoo.layers.reparam import RepConv
from zoo.probe import Grid, probe, whole
from zoo.registry import variant

# (depths, dims), and the grids of the attention layers for an image of 128x192.
SMALL = {
    "fastvit_sa12": ((1, 1, 1, 2), (32, 32, 64, 64)),
    "fastvit_mci0": ((1, 1, 1, 1), (32, 32, 64, 64)),
    "fastvit_mci3": ((1, 1, 1, 1, 1), (32, 32, 64, 64, 128)),
}
GRIDS = {"fastvit_sa12": [(4, 6), (4, 6)], "fastvit_mci0": [(4, 6)], "fastvit_mci3": [(4, 6), (2, 3)]}


def small(name: str) -> zoo.Backbone:
    depths, dims = SMALL[name]
    return build(name, depths=depths, dims=dims, num_classes=10)


@pytest.mark.parametrize(
    ("layer", "reach"),
    [
        (RepConv(6, 6, 3), 1),
        (RepConv(6, 6, 3, groups=6, convs=4), 1),
        (RepConv(6, 4, 5, groups=2, scale=False), 2),
        (RepConv(6, 6, 1), 0),
        (RepMixer(6), 1),
        (PositionConv(6), 3),
    ],
)
def test_branches_together_equal_one_convolution(layer: nn.Module, reach: int):
    """The output for one lit pixel gives the kernel, and the output for zeros gives the bias."""
    layer.load_state_dict(fill(layer.double().eval().state_dict()))
    lit = torch.zeros(6, 6, 15, 15, dtype=torch.float64)
    lit[range(6), range(6), 7, 7] = 1
    x = torch.randn(2, 6, 9, 12, dtype=torch.float64)
    with torch.inference_mode():
        bias = layer(torch.zeros_like(lit[:1]))[0, :, 0, 0]
        answer = (layer(lit) - bias[:, None, None]).transpose(0, 1).flip(2, 3)
        near = answer[:, :, 7 - reach : 8 + reach, 7 - reach : 8 + reach]
        assert answer.abs().sum() == pytest.approx(near.abs().sum())
        torch.testing.assert_close(F.conv2d(x, near, bias, padding=reach), layer(x))


@pytest.mark.parametrize(
    "layer",
    [
        RepConv(32, 32, 3, groups=32, convs=2),
        RepConv(32, 8, 3, 2, groups=2),
        MobileOne(32, 32, 1),
        MobileOne(32, 32, 3, groups=32, se=True),
        LargeKernelConv(32, 64, se=True, act=True),
        LargeKernelConv(32, 64, se=False, act=False),
        RepMixer(32),
        PositionConv(32),
    ],
)
def test_a_folded_block_computes_the_same(layer):
    layer.load_state_dict(fill(layer.double().eval().state_dict()))
    x = torch.randn(2, 32, 9, 12, dtype=torch.float64)
    with torch.no_grad():
        folded, expected = layer.folded(), layer(x)
        torch.testing.assert_close(folded(x), expected)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) == 0
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1) for m in folded.modules()) <= 1


def test_branches_are_counted():
    assert len(RepConv(6, 6, 3, groups=6, convs=4).branches()) == 6
    assert len(RepConv(6, 8, 3).branches()) == len(RepConv(6, 6, 3, 2).branches()) == 2
    assert [type(b) for b in RepConv(6, 6, 3, convs=0, scale=False).branches()] == [nn.BatchNorm2d]
    assert len(LargeKernelConv(6, 12, se=True, act=True).branches()) == 2


@pytest.mark.parametrize("name", SMALL)
def test_the_records_rebuild_what_the_layers_computed(name):
    model, x = small(name), noise_image(2, 128, 192)
    made: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def note(module, given, mixed):
        made[module] = module.qkv(given[0]).chunk(3, 2)[2], mixed

    for module in model.modules():
        if isinstance(module, SelfAttention):
            module.register_forward_hook(note)
    with torch.inference_mode():
        plain = model(x)
        with probe(attention=whole) as seen:
            looked_at = model(x)
    torch.testing.assert_close(plain, looked_at, rtol=1e-11, atol=1e-11)
    assert [record.geometry.q_grid for record in seen.attention] == [Grid(0, *shape) for shape in GRIDS[name]]
    for record in seen.attention:
        v, mixed = made[record.layer]
        read = record.dense(1) @ v[1].unflatten(1, (-1, 32)).transpose(0, 1)  # (h, N, 32)
        again = record.layer.get_submodule("proj")(read.transpose(0, 1).flatten(1))
        torch.testing.assert_close(again, mixed[1], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", SMALL)
def test_attention_and_taps_give_maps(name):
    """test_explain.py tests the other methods, on fastvit_t8."""
    model, x = small(name), noise_image(1, 128, 192)
    for method in ("attention", "rollout", "chefer", "grad_cam", "conservative", "pca"):
        raw = explain.explain(model, x, method).raw
        assert raw.shape[0] == 1 and raw.isfinite().all()
    assert explain.explain(model, x, "rollout").raw.sum().item() == pytest.approx(1)


def test_sizes_without_attention_say_so():
    (rollout,) = [o for o in explain.available(zoo.create("fastvit_t8")) if o.method.key == "rollout"]
    assert rollout.reason and "channels" in rollout.reason


def test_there_is_a_tap_after_every_stage():
    names = [*(f"stage{i}" for i in range(1, 6)), "cam"]
    with torch.inference_mode(), probe(taps=names) as seen:
        small("fastvit_mci3")(noise_image(1, 100, 150))  # every halving rounds up
    assert list(seen.taps) == names
    shapes = [(32, 25, 38), (32, 13, 19), (64, 7, 10), (64, 4, 5), (128, 2, 3), (256, 2, 3)]
    assert [tuple(t.value.shape[1:]) for t in seen.taps.values()] == shapes


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(ValueError, match="15x40 is less than one patch of 16x16"):
        build("vit_base_mci_224", depth=1)(noise_image(1, 15, 40))


@pytest.fixture
def oracle():
    return pytest.importorskip("tools.oracle", exc_type=ImportError)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [(name, {"layers": a, "embed_dims": b}, {"depths": a, "dims": b}) for name, (a, b) in SMALL.items()]
    + [("vit_base_mci_224", {"depth": 1, "dynamic_img_size": True}, {"depth": 1})],
)
def test_equal_to_timm_at_any_size(oracle, name, theirs, ours):
    reference, weights = oracle.filled_reference(name, **theirs)
    for key in weights:
        if key.endswith("gamma"):
            weights[key] *= 0.1  # so that no softmax saturates
    reference.load_state_dict(weights)
    model = zoo.create_from(name, weights, **ours)
    for size in (96, 160), (75, 50), (33, 40):
        x = noise_image(2, *size)
        with torch.inference_mode():
            torch.testing.assert_close(model(x), reference(x), rtol=1e-9, atol=1e-9)
            features = model.forward_features(x), reference.forward_features(x)
            torch.testing.assert_close(*features, rtol=1e-9, atol=1e-9)


APPLES = (
    ("conv_kxk", "rbr_conv"),
    ("conv_scale", "rbr_scale"),
    ("identity", "rbr_skip"),
    ("large_conv", "lkb_origin"),
    ("mlp", "convffn"),
    ("se.fc1", "se.reduce"),
    ("se.fc2", "se.expand"),
    (".gamma", ""),
    ("stem.", "patch_embed."),
    ("final_conv.", "conv_exp."),
    ("head.fc.", "head."),
    ("stages.0.blocks.", "network.0."),
    ("stages.1.downsample.", "network.1."),
    ("stages.1.blocks.", "network.2."),
    ("stages.2.downsample.", "network.3."),
    ("stages.2.blocks.", "network.4."),
    ("stages.3.downsample.", "network.5."),
    ("stages.3.pos_emb.pos_enc.", "network.6.pe."),
    ("stages.3.blocks.", "network.7."),
)
APPLES_VIT = (
    ("patch_embed.backbone.", "patch_emb."),
    (".conv.", ".block.conv."),
    (".bn.", ".block.norm."),
    ("norm1.", "pre_norm_mha.0."),
    ("attn.qkv.", "pre_norm_mha.1.qkv_proj."),
    ("attn.proj.", "pre_norm_mha.1.out_proj."),
    ("norm2.", "pre_norm_ffn.0."),
    ("mlp.fc1.", "pre_norm_ffn.1."),
    ("mlp.fc2.", "pre_norm_ffn.4."),
    ("blocks.", "transformer."),
)
TEXT = {"text_encoder.embedding_layer.weight": torch.randn(3, 2), "logit_scale": torch.randn(())}


def renamed(names: list[str], table: tuple[tuple[str, str], ...], prefix: str = "") -> dict[str, Tensor]:
    """Noise under the names of such a file."""
    file = {}
    for name in names:
        for ours, apples in table:
            name = name.replace(ours, apples)
        file[prefix + name] = torch.randn(2)
    return file


def assert_read_alike(adapted: dict[str, Tensor], expected: dict[str, Tensor], names: list[str]) -> None:
    assert adapted.keys() == expected.keys() == set(names)
    assert all(torch.equal(adapted[k], expected[k]) for k in names)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["fastvit_t8", "fastvit_ma36", "fastvit_mci0"])
def test_files_are_read_as_timm_reads_them(oracle, name):
    from timm.models.fastvit import checkpoint_filter_fn

    model, adapt = oracle.reference(name), variant(name)[0].adapt
    names = list(model.state_dict())
    for file in renamed(names, APPLES), renamed(names, ()):
        assert_read_alike(adapt(dict(file)), checkpoint_filter_fn(dict(file), model), names)
    file = renamed([n for n in names if not n.startswith("head.")], APPLES, "image_encoder.model.") | TEXT
    file["image_encoder.model.head.proj"] = torch.randn(4, 9)
    assert_read_alike(adapt(dict(file)), checkpoint_filter_fn(dict(file), model), names)
    # open_clip's; the zoo takes "module." off whatever it reads.
    file = renamed(names, (), "visual.trunk.") | TEXT
    wrapped = {f"module.{k}": v for k, v in file.items()}
    assert_read_alike(adapt(dict(file)), checkpoint_filter_fn(wrapped, model), names)


@pytest.mark.oracle
def test_files_of_the_vit_are_read_as_timm_reads_them(oracle):
    from timm.models.vision_transformer_hybrid import checkpoint_filter_fn

    name = "vit_base_mci_224"
    model, adapt = oracle.reference(name, depth=2), variant(name)[0].adapt
    names = list(model.state_dict())
    table = torch.randn(1, 196, 768)
    for prefix in "", "visual.trunk.":
        file = renamed(names, (), prefix) | {f"{prefix}pos_embed": table} | (TEXT if prefix else {})
        assert_read_alike(adapt(dict(file)), checkpoint_filter_fn(dict(file), model), names)
    there = "image_encoder.model."
    kept = [n for n in names if not n.startswith(("head.", "pos_embed", "norm."))]
    file = renamed(kept, APPLES_VIT, there) | TEXT
    file |= {f"{there}post_transformer_norm.{k}": torch.randn(2) for k in ("weight", "bias")}
    file |= {f"{there}pos_embed.pos_embed.pos_embed": table[None], f"{there}classifier.proj": torch.randn(4, 9)}
    assert_read_alike(adapt(dict(file)), checkpoint_filter_fn(dict(file), model), names)
