"""Attention and taps lie where they say in the image: products, permutations, mirrors, planted answers."""

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import explain
import zoo
from tests.models import SMALL, WITH_ATTENTION, build, light, light_names, noise, on_meta
from tools.fill import noise_image
from zoo.cells import Cells
from zoo.probe import AttentionRecord, Geometry, Grid, attention, probe, tap, whole


class Products(TorchFunctionMode):
    """Records every matrix product made while it is open: (left, right, result)."""

    def __init__(self):
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (Tensor.__matmul__, Tensor.matmul, torch.matmul):
            self.seen.append((*args[:2], out))
        return out


def scatter(x: Tensor, index: Tensor, tokens: int) -> Tensor:
    """Move slots (W, heads, slots, d) to the tokens that they hold, averaged over windows. -> (heads, tokens, d).

    A slot that stands for m tokens goes to each of them.
    """
    x = x.movedim(1, 0)
    if index.ndim == 3:
        x = x[..., None, :].expand(*x.shape[:3], index.shape[2], -1)
    target = torch.where(index < 0, tokens, index).flatten()
    out = x.new_zeros(len(x), tokens + 1, x.shape[-1]).index_add(1, target, x.flatten(1, -2))
    return (out / torch.bincount(target, minlength=tokens + 1).clamp(min=1)[:, None])[:, :tokens]


def light_that_attends() -> list[str]:
    return [name for name in light_names() if on_meta(name).no_attention is None]


CHANNELS_ALONE = {"edgenext_xx_small"}  # attention that is recorded, though no map shows it


@pytest.mark.parametrize("name", sorted({*WITH_ATTENTION, *CHANNELS_ALONE, *light_that_attends()}))
def test_recorded_weights_times_values_are_what_each_layer_computed(name):
    """Compared for queries that see no padding: values read outside the image belong to no token."""
    made = light(name)
    model = build(name) if name in SMALL else made.build()
    x = noise(name) if name in SMALL else noise_image(1, made.height, made.width)
    with torch.inference_mode(), Products() as products, probe(attention=whole) as seen:
        model(x)
    products_of = {id(left): (right, out) for left, right, out in products.seen}
    for record in seen.attention:
        values, out = products_of[id(record.weights)]
        if record.geometry is None:  # between channels
            torch.testing.assert_close(record.weights @ values, out, rtol=1e-9, atol=1e-12)
            continue
        g, dense = record.geometry, record.dense()
        expected = scatter(out, g.q_index, g.q_grid.tokens)
        rebuilt = dense @ scatter(values, g.k_index, g.k_grid.tokens)
        inside = torch.isclose(dense.sum(-1, keepdim=True), record.weights.sum(-1).mean()) if has_padding(g) else True
        torch.testing.assert_close(rebuilt * inside, expected * inside, rtol=1e-9, atol=1e-12)


def first_values(model: zoo.Backbone, x: Tensor) -> tuple[Tensor, AttentionRecord]:
    """What the first attention to patches reads of each token, (tokens, channels), and its record."""
    with torch.inference_mode(), Products() as products, probe(model, x, attention=whole) as seen:
        model(x)
    between = (record for record in seen.attention if record.geometry is not None)
    record = next(r for r in between if (r.geometry.k_index >= r.geometry.k_grid.prefix).any())
    values = next(right for left, right, _ in products.seen if left is record.weights)
    g = record.between_positions
    return scatter(values, g.k_index, g.k_grid.tokens).transpose(0, 1).flatten(1), record


WIDE = {"mobilenetv5_base"}  # so many 5x5 convolutions come before its attention that every token sees all of the image


@pytest.mark.parametrize("name", [name for name in light_that_attends() if name not in WIDE])
def test_a_changed_place_changes_most_the_token_that_looks_there(name):
    """Or its neighbour: windows of a convolution overlap."""
    made = light(name)
    model, x = made.build(), noise_image(1, made.height, made.width)
    before, record = first_values(model, x)
    grid = record.between_positions.k_grid
    cells = record.cells or Cells.even(grid.shape, (made.height, made.width))
    token = grid.height // 4, 3 * grid.width // 4
    box: list[slice] = []
    for axis, i in zip(cells.regrid(grid.shape), token, strict=True):
        centre = axis.start + i * axis.step
        box.append(slice(max(round(centre - axis.step / 2), 0), max(round(centre + axis.step / 2), 1)))
    x[:, :, box[0], box[1]] += 2
    moved = (first_values(model, x)[0] - before).norm(dim=1)[grid.prefix :]
    found = divmod(int(moved.argmax()), grid.width)
    assert all(abs(i - j) <= 1 for i, j in zip(found, token, strict=True)), f"{found} moved in place of {token}"


def has_padding(g: Geometry) -> bool:
    return bool((g.k_index < 0).any())


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_pullback_equals_the_dense_matrix_product(name):
    with torch.inference_mode(), probe(attention=whole) as seen:
        build(name)(noise(name))
    for record in seen.attention:
        mass = torch.rand(1, record.geometry.q_grid.tokens, dtype=torch.float64)
        expected = mass @ record.dense().mean(0)
        torch.testing.assert_close(record.pullback(mass), expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(record.pullback(mass, 0), mass @ record.dense()[0], rtol=1e-9, atol=1e-12)


def test_even_attention_spreads_mass_evenly_and_self_attention_keeps_it():
    grid = Grid(1, 2, 3)
    mass = torch.rand(1, 7, dtype=torch.float64)

    def pulled(weights: Tensor) -> Tensor:
        return AttentionRecord(nn.Identity(), weights.double()[None, None], Geometry.dense(grid)).pullback(mass)

    torch.testing.assert_close(pulled(torch.full((7, 7), 1 / 7)), mass.sum().expand(1, 7) / 7, rtol=1e-6, atol=0)
    assert torch.equal(pulled(torch.eye(7)), mass)


@pytest.mark.parametrize("method", ["grad_cam", "rollout", "chefer", "attention"])
def test_without_position_embeddings_maps_move_with_the_patches(method):
    model, x = build("vit_cifar"), noise("vit_cifar")
    model.pos_embed.data[:, 1:] = 0
    patches = x.unflatten(3, (12, 4)).unflatten(2, (8, 4)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (1, 96, 3, 4, 4)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(0))
    moved = patches[:, order].unflatten(1, (8, 12)).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
    options = {"target": 3} if method in ("grad_cam", "chefer") else {}
    before, after = (explain.explain(model, image, method, **options).raw.flatten(1) for image in (x, moved))
    torch.testing.assert_close(after, before[:, order], rtol=1e-9, atol=1e-12)


def test_mirrored_images_have_mirrored_maps_if_the_kernels_are_symmetric():
    """The width is odd, so that strides of two start and end at the edges."""
    model = build("resnet32_cifar")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = (module.weight + module.weight.flip(3)) / 2
    x = torch.randn(1, 3, 33, 49, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for method in ("grad_cam", "layer_cam", "saliency", "eigen_cam"):
        straight, mirrored = (explain.explain(model, image, method).raw for image in (x, x.flip(3)))
        torch.testing.assert_close(mirrored.flip(2), straight, rtol=1e-9, atol=1e-12)


class RedReader(zoo.Backbone):
    """A class token reads 4x4 patches by their redness, `sharpness` times; the logit of class 1 is what it read."""

    num_classes, readout, no_attention = 2, "token", None

    def __init__(self, sharpness: float):
        super().__init__()
        self.sharpness = sharpness

    def forward(self, x: Tensor) -> Tensor:
        red = nn.functional.avg_pool2d(x[:, :1] - x[:, 1:].sum(1, keepdim=True), 4)
        grid = Grid(1, *red.shape[2:])
        tokens = nn.functional.pad(red.flatten(2).transpose(1, 2), (0, 0, 1, 0))  # (B, N, 1), the class token is 0
        tokens = tap("cam", tokens, "NLC", grid)[:, None]
        query = torch.full_like(tokens, self.sharpness)
        read = attention(query, tokens, tokens, layer=self, geometry=lambda: Geometry.dense(grid))
        return nn.functional.pad(read[:, 0, 0], (1, 0))


def red_patch(row: int, col: int) -> Tensor:
    x = torch.zeros(1, 3, 16, 24, dtype=torch.float64)
    x[:, 0, 4 * row : 4 * row + 4, 4 * col : 4 * col + 4] = 1
    return x


@pytest.mark.parametrize(("row", "col"), [(0, 0), (1, 5), (3, 2)])
def test_a_token_that_reads_red_shows_where_red_is(row, col):
    for method in ("attention", "rollout", "chefer"):
        raw = explain.explain(RedReader(8), red_patch(row, col), method).raw[0]
        assert divmod(int(raw.argmax()), 6) == (row, col), method


@pytest.mark.parametrize(("row", "col"), [(0, 0), (1, 5), (3, 2)])
def test_a_token_that_reads_everything_evenly_owes_its_logit_to_red_alone(row, col):
    """Attention is even and shows nothing; the gradient's map is the redness divided by the number of tokens."""
    even = explain.explain(RedReader(0), red_patch(row, col), "attention")
    assert "nearly even" in even.notes[-1]
    raw = explain.explain(RedReader(0), red_patch(row, col), "hires_cam", target=1).raw[0]
    assert raw[row, col].item() == pytest.approx(1 / 25)
    raw[row, col] = 0
    assert raw.abs().max() == 0
