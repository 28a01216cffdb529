"""CaiT: talking heads, a class token that enters late, and records that rebuild what both computed."""

import pytest
import torch

import explain
import zoo
from tests.models import build, noise
from tools.fill import fill, noise_image
from zoo import weights
from zoo.families.cait import CaiT
from zoo.layers.attention import SelfAttention
from zoo.layers.class_attention import ClassAttention
from zoo.layers.talking_heads import TalkingHeadsAttention
from zoo.probe import STAGES, Grid, probe, whole

GRID = Grid(0, 8, 12)


@pytest.mark.parametrize(("kind", "grid"), [(TalkingHeadsAttention, GRID), (ClassAttention, GRID._replace(prefix=1))])
def test_records_rebuild_what_the_layer_computed(kind, grid):
    layer = kind(12, 3).double().requires_grad_(False)
    layer.load_state_dict(fill(layer.state_dict()))
    x = torch.randn(2, grid.tokens, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with probe(attention=whole) as seen:
        y = layer(x, grid)
    (record,) = seen.attention
    values = layer.qkv(x).chunk(3, -1)[2] if kind is TalkingHeadsAttention else layer.v(x)
    for i in range(2):
        read = (record.dense(i) @ values[i].unflatten(1, (3, -1)).transpose(0, 1))[:, record.geometry.asks]
        torch.testing.assert_close(layer.proj(read.transpose(0, 1).flatten(1)), y[i], rtol=0, atol=1e-12)


def test_talking_heads_with_identity_mixing_are_plain_attention():
    layer, plain = TalkingHeadsAttention(12, 3), SelfAttention(12, 3)
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if k in plain.state_dict()})
    with torch.no_grad():
        for mixer in (layer.proj_l, layer.proj_w):
            mixer.weight.copy_(torch.eye(3))
            mixer.bias.zero_()
    x = torch.randn(2, GRID.tokens, 12)
    torch.testing.assert_close(layer(x, GRID), plain(x, GRID))


def test_geometry_of_both_parts():
    model, x = build("cait_cifar"), noise("cait_cifar")
    with torch.inference_mode(), probe(taps={"cam", "stage5", "stage6"}, attention=whole) as seen:
        model(x)
    shapes = [tuple(record.dense().shape) for record in seen.attention]
    assert shapes == [(4, 96, 96)] * 5 + [(4, 97, 97)] * 2
    assert [int(record.geometry.asks.sum()) for record in seen.attention] == [96] * 5 + [1] * 2  # the class token alone
    assert torch.equal(seen.taps["cam"].value, seen.taps["stage5"].value)
    assert seen.taps["cam"].grid == GRID
    patches = seen.taps["stage6"].value[:, 1:]  # class blocks do not change them
    assert torch.equal(patches, seen.taps["cam"].value)


def test_every_stage_is_read_as_the_head_reads_the_last():
    model, x = build("cait_cifar"), noise("cait_cifar")
    with torch.inference_mode(), probe(taps={"stage5", "stage6", "stage7"}) as seen:
        logits = model(x)
    with torch.inference_mode():
        for stage in ("stage5", "stage7"):
            tap = seen.taps[stage]
            torch.testing.assert_close(model.read(tap.value, tap.grid), logits, rtol=0, atol=1e-12)
        unread = model.read(seen.taps["stage6"].value, seen.taps["stage6"].grid)
    assert not torch.allclose(unread, logits)


def test_a_single_layer_is_shown_for_the_class_token():
    model, x = build("cait_cifar"), noise("cait_cifar")
    with torch.inference_mode(), probe(attention=whole) as seen:
        model(x)
    result = explain.explain(model, x, "attention")
    assert result.source == "blocks_token_only.1.attn"
    torch.testing.assert_close(result.raw[0].flatten(), seen.attention[-1].weights[0].mean(0)[0, 1:])


def test_rollout_and_chefer_are_the_dense_products():
    """Tokens that make no query in a layer keep their mass: patches in class blocks, the class token before them."""
    model, x = build("cait_cifar"), noise("cait_cifar")
    with torch.enable_grad(), probe(attention=whole, gradient=True) as seen:
        logit = model(x)[0, 3]
    gradients = torch.autograd.grad(logit, [record.weights for record in seen.attention])
    one = torch.eye(97, dtype=torch.float64)
    rolled, relevant = one, one
    for record, gradient in zip(seen.attention, gradients, strict=True):
        asks, keys = (slice(0, 1), slice(0, 97)) if record.geometry.q_grid.prefix else (slice(1, 97), slice(1, 97))
        weights = record.weights[0].detach()
        share, gain = one.clone(), one.clone()
        share[asks, asks] /= 2
        share[asks, keys] += (weights.abs() / weights.abs().sum(-1, keepdim=True)).mean(0) / 2
        gain[asks, keys] += (gradient[0] * weights).clamp(min=0).mean(0)
        rolled, relevant = share @ rolled, gain @ relevant
    rollout = explain.explain(model, x, "rollout")
    torch.testing.assert_close(rollout.raw[0].flatten(), rolled[0, 1:], rtol=1e-9, atol=1e-12)
    assert f"{100 * rolled[0, 0]:.0f} % fell on the class token." in rollout.notes
    chefer = explain.explain(model, x, "chefer", target=3).raw[0]
    torch.testing.assert_close(chefer.flatten(), relevant[0, 1:], rtol=1e-9, atol=1e-12)


def test_the_query_of_a_patch_layer_is_all_patches_evenly():
    model, x = build("cait_cifar"), noise("cait_cifar")
    with torch.inference_mode(), probe(attention=whole) as seen:
        model(x)
    raw = explain.explain(model, x, "attention", layer=2).raw[0]
    torch.testing.assert_close(raw.flatten(), seen.attention[2].weights[0].mean((0, 1)))


def test_legrad_reads_every_block_through_the_class_token():
    model, x = build("cait_cifar"), noise("cait_cifar")
    with torch.enable_grad(), probe(taps=STAGES, attention=whole, gradient=True) as seen:
        model(x)
    total = torch.zeros(96, dtype=torch.float64)
    for record, tap in zip(seen.attention, seen.taps.values(), strict=True):
        tokens = tap.value if tap.grid.prefix else model.ask(tap.value, GRID)
        score = model.head(model.norm(tokens)[:, 0])[0, 3]
        (gradient,) = torch.autograd.grad(score, record.weights, retain_graph=True)
        total += gradient.clamp(min=0).mean((0, 1, 2))[-96:]
    found = explain.explain(model, x, "legrad", target=3).raw[0].flatten()
    torch.testing.assert_close(found, total / 7, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [(32, 32), (20, 44)])
def test_at_any_size_an_image_gives_the_same_alone_and_in_a_batch(size):
    model, x = build("cait_cifar"), noise_image(2, *size)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), torch.cat([model(x[:1]), model(x[1:])]), rtol=0, atol=1e-12)


def test_a_size_that_patches_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="patches of 4x4"):
        build("cait_cifar")(noise_image(1, 30, 32))


def test_size_and_classes_are_read_off_a_checkpoint():
    small = zoo.create("cait_cifar", img_size=48, num_classes=7)
    again = zoo.create_from("cait_cifar", small.state_dict())
    x = torch.randn(1, 3, 48, 48)
    assert torch.equal(small(x), again(x))
    assert zoo.create("cait_cifar", num_classes=0)(x).shape == (1, 128)


def test_training_reaches_every_parameter_and_drops_whole_branches():
    torch.manual_seed(0)
    model = zoo.create("cait_cifar", drop_path=0.5).train()
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert {block.drop_path.rate for block in model.blocks} == {0.5}
    assert {block.drop_path.rate for block in model.blocks_token_only} == {0.0}


@pytest.mark.oracle
@pytest.mark.parametrize("size", [(64, 96), (256, 256)])
def test_another_size_is_the_reference_on_a_table_of_that_size(size):
    oracle, name = pytest.importorskip("tools.oracle", exc_type=ImportError), "cait_xxs24_224"
    _, filled = oracle.filled_reference(name, depth=2)
    filled = {k: v.float().double() for k, v in filled.items()}  # tables are resized in float32
    ours = zoo.create_from(name, filled, depth=2)
    theirs = oracle.timm.create_model(name, depth=2, img_size=size).eval().double()
    resize = oracle.timm.layers.resample_abs_pos_embed
    table = resize(filled["pos_embed"], [side // 16 for side in size], [14, 14], num_prefix_tokens=0)
    theirs.load_state_dict(filled | {"pos_embed": table})
    x = noise_image(1, *size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-9)


@pytest.mark.oracle
def test_the_file_that_the_authors_published(tmp_path):
    oracle, name = pytest.importorskip("tools.oracle", exc_type=ImportError), "cait_xxs24_224"
    model = oracle.timm.create_model(name, depth=1, embed_dim=16)
    file = {"model": {f"module.{k}": torch.randn_like(v) for k, v in model.state_dict().items()}}
    torch.save(file, tmp_path / "XXS24_224.pth")
    ours = CaiT.adapt(weights.read(tmp_path / "XXS24_224.pth"))
    theirs = oracle.timm.models.cait.checkpoint_filter_fn(file, model)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
