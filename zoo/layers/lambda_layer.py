"""Lambda layer: the whole grid is summed up in small linear maps, which are then applied to the queries.

Bello 2021, "LambdaNetworks: Modeling Long-Range Interactions Without Attention", arXiv:2102.08602. The content lambda,
one for the image, is the product of the keys, normalised over the grid, and the values. The position lambda of each
cell is the values around it, weighted by learned vectors of the offset. No query is ever compared with a key.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.relative_position import offsets

NO_PAIRS = "its lambda layers apply one linear map to all queries of a cell: no query is compared with a key"


class LambdaLayer(nn.Module):
    """(B, dim, H, W) -> (B, dim, H/stride, W/stride), rounded up; with stride 2, the result is averaged.

    `reach`: side of the surroundings that the position lambda sums up, by a convolution that fits any grid; None: the
    whole grid, which then is of side x side.
    """

    def __init__(
        self, dim: int, side: int, stride: int = 1, num_heads: int = 4, key_dim: int = 16, reach: int | None = 9
    ):
        super().__init__()
        self.num_heads, self.parts = num_heads, (num_heads * key_dim, key_dim, dim // num_heads)
        self.qkv = nn.Conv2d(dim, sum(self.parts), 1, bias=False)
        self.norm_q = nn.BatchNorm2d(self.parts[0])
        self.norm_v = nn.BatchNorm2d(self.parts[2])
        # The checkpoints hold a 3d convolution, whose kernel has length 1 along the values' channels.
        self.conv_lambda = nn.Conv3d(1, key_dim, (reach, reach, 1)) if reach else None
        self.pos_emb = None if reach else nn.Parameter(torch.empty(2 * side - 1, 2 * side - 1, key_dim))
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        nn.init.trunc_normal_(self.qkv.weight, std=dim**-0.5)
        if self.conv_lambda is not None:
            nn.init.trunc_normal_(self.conv_lambda.weight, std=key_dim**-0.5)
        if self.pos_emb is not None:
            nn.init.trunc_normal_(self.pos_emb, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        q, k, v = self.qkv(x).split(self.parts, 1)
        q = self.norm_q(q).flatten(2).unflatten(1, (self.num_heads, -1))  # (B, h, k, N)
        v = self.norm_v(v)  # (B, d, H, W)
        content = k.flatten(2).softmax(2) @ v.flatten(2).transpose(1, 2)  # (B, k, d)
        y = torch.einsum("bhkn,bknd->bhdn", q, self.positions(v) + content[:, :, None])
        return self.pool(y.flatten(1, 2).unflatten(2, (height, width)))

    def positions(self, v: Tensor) -> Tensor:
        """The position lambda of each cell. (B, d, H, W) -> (B, k, H * W, d)."""
        if self.conv_lambda is not None:
            kernel = self.conv_lambda.weight[..., 0]  # (k, 1, reach, reach)
            padding = kernel.shape[-1] // 2
            y = F.conv2d(v.flatten(0, 1)[:, None], kernel, self.conv_lambda.bias, padding=padding)
            return y.unflatten(0, v.shape[:2]).flatten(3).permute(0, 2, 3, 1)
        assert self.pos_emb is not None
        offset = offsets(v.shape[2], v.shape[3], v.device).T  # the transpose: from the cell to what it sums up
        table = self.pos_emb.flatten(0, 1).t().contiguous()  # (k, offsets)
        weights = table.index_select(1, offset.flatten()).unflatten(1, offset.shape)  # (k, N, N)
        return torch.einsum("knm,bdm->bknd", weights, v.flatten(2))
