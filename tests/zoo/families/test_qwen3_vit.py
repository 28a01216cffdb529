"""Encoders of models of images and text: what they give the language model, and which patches a token stands for."""

import pytest
import torch

import zoo
from tests.models import build

SMALL = {"depth": 1, "dim": 64, "num_heads": 4}
TOWERS = {  # patches along a side that become one token, and its channels
    "qwen3_vit_88m_enc": (2, 24, {"projected": 24}, 16),
    "deepseek_vit_412m_enc": (3, 24, {"projected": 24}, 14),
    "gemma4_vit_167m_enc": (3, 64, {"hidden": 64}, 16),
}


@pytest.mark.parametrize("name", TOWERS)
def test_without_classes_an_encoder_gives_the_tokens_and_with_them_logits(name):
    merged, width, more, patch = TOWERS[name]
    x = torch.randn(2, 3, merged * patch, 2 * merged * patch, dtype=torch.float64)
    with torch.inference_mode():
        assert build(name, **SMALL, **more)(x).shape == (2, 2, width)
        assert build(name, **SMALL, **more, num_classes=7)(x).shape == (2, 7)


@pytest.mark.parametrize("name", TOWERS)
def test_a_token_stands_for_its_own_patches(name):
    """Without blocks, a changed patch changes the one token that it is merged into."""
    merged, _, more, patch = TOWERS[name]
    model = build(name, **SMALL | {"depth": 0}, **more)
    x = torch.rand(1, 3, 2 * merged * patch, 3 * merged * patch, dtype=torch.float64)
    with torch.inference_mode():
        before = model(x)
        x[:, :, -patch:, merged * patch : (merged + 1) * patch] += (
            1  # the last row of patches, the second token's first
        )
        changed = (model(x) - before).abs().amax(2)[0] > 1e-9
    assert changed.nonzero().flatten().tolist() == [4]


def test_an_odd_grid_is_padded_or_refused():
    with torch.inference_mode():
        tokens = build("deepseek_vit_412m_enc", **SMALL, projected=24)(torch.rand(1, 3, 56, 98, dtype=torch.float64))
    assert tokens.shape == (1, 2 * 3, 24)
    with pytest.raises(ValueError, match="that 32 divides"):
        zoo.create("qwen3_vit_88m_enc", **SMALL)(torch.rand(1, 3, 48, 64))
