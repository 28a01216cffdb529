"""From an image to tokens: patches and their positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.conv import conv
from zoo.layers.kept import kept
from zoo.layers.norm import LayerNorm2d


class PatchEmbed(nn.Module):
    """Cut the image into patches and project each. (B, 3, H, W) -> (B, C, H/patch, W/patch).

    `ragged`: pixels at the right and bottom that do not fill a patch are dropped; otherwise they are an error.
    """

    def __init__(self, patch: int, dim: int, bias: bool = True, ragged: bool = False):
        super().__init__()
        self.patch, self.ragged = patch, ragged
        self.proj = nn.Conv2d(3, dim, patch, patch, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if not self.ragged:
            check_patches(x, self.patch)
        return self.proj(x)


class ConvEmbed(nn.Module):
    """Patches, which overlap if the kernel is longer than the stride, and their norm.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up where they overlap.
    """

    def __init__(self, dim_in: int, dim: int, kernel: int, stride: int):
        super().__init__()
        self.proj = conv(dim_in, dim, kernel, stride, bias=True)
        self.norm = LayerNorm2d(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


class OverlappingEmbed(nn.Module):
    """Patches of 4x4 pixels whose kernels overlap. (B, 3, H, W) -> (B, C, H/4, W/4), rounded up."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 7, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut images into patches, by rows. (B, C, H, W) -> (B, N, patch * patch * C), the channels of a pixel together.

    Raises ValueError for a height or a width that `patch` does not divide.
    """
    check_patches(x, patch)
    x = x.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # (B, C, rows, patch, columns, patch)
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def check_patches(x: Tensor, patch: int) -> None:
    """Raise a ValueError unless whole patches fill the images x (B, C, H, W)."""
    height, width = x.shape[2:]
    if height % patch or width % patch:
        raise ValueError(
            f"An image of {height}x{width} cannot be cut into patches of {patch}x{patch}: "
            f"choose a height and a width that {patch} divides."
        )


def position_table(tokens: int, dim: int) -> nn.Parameter:
    """Draw a vector for each position. (1, tokens, dim)."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, tokens, dim), std=0.02))


def resize_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int = 0) -> Tensor:
    """Bicubic resize of a learned position table to another grid. (1, prefix + N, C) -> (1, prefix + N', C).

    Antialiased and in float32, as in the published models; the first `prefix` rows stay as they are.
    """
    if old == new:
        return table
    grid = resize_position_map(table[:, prefix:].transpose(1, 2).unflatten(2, old), new)
    return torch.cat([table[:, :prefix], grid.flatten(2).transpose(1, 2)], 1)


def resize_position_map(table: Tensor, new: tuple[int, int]) -> Tensor:
    """Resize positions as above where they are learned as a map. (1, C, H, W) -> (1, C, H', W')."""
    if table.shape[2:] == new:
        return table
    return F.interpolate(table.float(), new, mode="bicubic", antialias=True).to(table.dtype)


def resize_kernel(kernel: Tensor, patch: int) -> Tensor:
    """Fit a patch layer to another patch size: on a resized patch it gives what it gave on the patch.

    (C, 3, p, p) -> (C, 3, patch, patch), in float32. Resizing a patch is a matrix R, and the kernel that undoes it is
    kernel @ pinv(R) (Beyer et al. 2022, FlexiViT, arXiv:2212.08013, section 3.4).
    """
    if kernel.shape[2] == patch:
        return kernel
    resized = kernel.float().flatten(2) @ _inverse_of_resize(kernel.shape[2], patch).to(kernel.device)
    return resized.unflatten(2, (patch, patch)).to(kernel.dtype)


@kept(None)
def _inverse_of_resize(old: int, new: int) -> Tensor:
    """(old * old, new * new)."""
    basis = torch.eye(old * old, device="cpu").view(-1, 1, old, old)
    resize = F.interpolate(basis, (new, new), mode="bicubic", antialias=True).flatten(1).T
    return torch.linalg.pinv(resize)
