"""Published files in other layouts: `adapt` gives the same result as timm's own conversion."""

import pytest
import torch
from torch import Tensor

from zoo import weights
from zoo.registry import variant

oracle = pytest.importorskip("tools.oracle", exc_type=ImportError)
pytestmark = pytest.mark.oracle

NOISE = torch.Generator().manual_seed(0)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=NOISE)


def openai(dim: int, out: int) -> dict[str, Tensor]:
    block = {
        "attn.in_proj_weight": noise(3 * dim, dim), "attn.in_proj_bias": noise(3 * dim),
        "attn.out_proj.weight": noise(dim, dim), "attn.out_proj.bias": noise(dim),
        "ln_1.weight": noise(dim), "ln_1.bias": noise(dim), "ln_2.weight": noise(dim), "ln_2.bias": noise(dim),
        "mlp.c_fc.weight": noise(4 * dim, dim), "mlp.c_fc.bias": noise(4 * dim),
        "mlp.c_proj.weight": noise(dim, 4 * dim), "mlp.c_proj.bias": noise(dim),
    }  # fmt: skip
    visual = {
        "class_embedding": noise(dim), "positional_embedding": noise(50, dim), "proj": noise(dim, out),
        "conv1.weight": noise(dim, 3, 32, 32), "ln_pre.weight": noise(dim), "ln_pre.bias": noise(dim),
        "ln_post.weight": noise(dim), "ln_post.bias": noise(dim),
        **{f"transformer.resblocks.{i}.{k}": v for i in range(12) for k, v in block.items()},
    }  # fmt: skip
    text = {"token_embedding.weight": noise(10, 4), "ln_final.weight": noise(4), "logit_scale": noise(1)}
    return {f"visual.{k}": v for k, v in visual.items()} | text


def trunk(native: dict[str, Tensor], dim: int) -> dict[str, Tensor]:
    around = {"visual.head.proj.weight": noise(9, dim), "text.ln_final.weight": noise(4)}
    return {f"visual.trunk.{k}": v for k, v in native.items() if not k.startswith("head.")} | around


def dinov2(native: dict[str, Tensor], dim: int, registers: bool) -> dict[str, Tensor]:
    state = {k.replace("fc1", "w12").replace("fc2", "w3"): v for k, v in native.items()} | {"mask_token": noise(1, dim)}
    if registers:
        state["register_tokens"] = state.pop("reg_token")
        state["pos_embed"] = noise(1, state["pos_embed"].shape[1] + 1, dim)
    return state


def native(name: str, **small: int) -> tuple[dict[str, Tensor], torch.nn.Module]:
    model = oracle.timm.create_model(name, **small)
    return {k: torch.randn_like(v) for k, v in model.state_dict().items()}, model


def assert_like_timm(name: str, layout: dict[str, Tensor], model: torch.nn.Module) -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    ours, theirs = variant(name)[0].adapt(dict(layout)), checkpoint_filter_fn(dict(layout), model)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_openai_and_open_clip(prefix):
    name = "vit_xsmall_patch16_clip_224"  # of any size: the layout is recognised
    layout = {prefix + k: v for k, v in openai(64, 32).items()}
    model = oracle.timm.create_model(name, patch_size=32, embed_dim=64, depth=12, num_heads=2, num_classes=32)
    assert_like_timm(name, layout, model)


def test_open_clip_around_a_vit():
    layout, model = native("vit_tiny_patch16_224", depth=1, num_classes=9)
    assert_like_timm("vit_tiny_patch16_224", trunk(layout, 192), model)


@pytest.mark.parametrize(("name", "registers"), [
    ("vit_giant_patch14_dinov2", False), ("vit_giant_patch14_reg4_dinov2", True),
])  # fmt: skip
def test_dinov2(name, registers):
    layout, model = native(name, depth=1, embed_dim=96, num_heads=2, img_size=28)
    assert_like_timm(name, dinov2(layout, 96, registers), model)


def test_aimv2():
    layout, model = native("aimv2_large_patch14_224", depth=1, embed_dim=64)
    for ours, apples in (
        ("fc1_g", "fc1"), ("fc1_x", "fc3"), ("norm1", "norm_1"), ("norm2", "norm_2"), ("blocks.", "trunk.blocks."),
        ("patch_embed.", "preprocessor.patchifier."), ("pos_embed", "preprocessor.pos_embed"),
    ):  # fmt: skip
        layout = {k.replace(ours, apples): v for k, v in layout.items()}
    layout["trunk.post_trunk_norm.weight"] = layout.pop("norm.weight")
    assert_like_timm("aimv2_large_patch14_224", layout, model)


def test_ijepa(tmp_path):
    from timm.models.vision_transformer import checkpoint_filter_fn

    name = "vit_huge_patch14_gap_224"
    layout, model = native(name, depth=1, embed_dim=80, num_heads=2)
    file = {"encoder": {f"module.{k}": v for k, v in layout.items()}, "predictor": {"module.x": noise(1)}, "epoch": 3}
    torch.save(file, tmp_path / "ijepa.pth.tar")
    ours, theirs = (
        variant(name)[0].adapt(weights.read(tmp_path / "ijepa.pth.tar")),
        checkpoint_filter_fn(file, model),
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_maes_decoder_is_dropped():
    layout, _ = native("vit_tiny_patch16_224", depth=1, num_classes=0)
    pretrained = layout | {"mask_token": noise(1), "decoder_embed.weight": noise(2, 2), "decoder_pos_embed": noise(1)}
    assert variant("vit_tiny_patch16_224")[0].adapt(pretrained).keys() == layout.keys()
