"""The pointer: every target cell points at the reference cells and copies what lies there.

Vondrick et al. 2018, equations 1 and 2: A_ij = softmax over i of f_i . f_j, with i over *all* cells of
*all* references jointly, and y_j = sum over i of A_ij c_i.

Shape suffixes: B clips, R references, C channels, K values (colours, labels), h, w cells, N = R h w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def copy_through_pointer(
    references_BRChw: Tensor,
    target_BChw: Tensor,
    values_BRKhw: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Mixture of the references' values at each target cell: float32 [B, K, h, w].

    One-hot values make the result a probability over the K values at every cell: it needs no second
    softmax. This is attention with the colours as its values, so PyTorch's fused kernels compute it
    without ever holding the affinities (3 x 1024 x 1024 a clip at the paper's size). Under autocast they
    compare in its half precision and add up in float32.
    """
    channels, values = target_BChw.shape[1], values_BRKhw.shape[2]
    keys_B1NC = _cells(references_BRChw)
    # The kernels want values as wide as the keys.
    padded_B1NK = F.pad(_cells(values_BRKhw).to(keys_B1NC.dtype), (0, max(0, channels - values)))
    mixture_B1hwK = F.scaled_dot_product_attention(
        _cells(target_BChw[:, None]), keys_B1NC, padded_B1NK, scale=1.0 / temperature
    )
    mixture_BKhw = mixture_B1hwK[:, 0, :, :values].transpose(1, 2)
    return mixture_BKhw.float().unflatten(2, target_BChw.shape[-2:])


def copy_through_dense_pointer(
    references_BRChw: Tensor,
    target_BChw: Tensor,
    values_BRKhw: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """The same, written as the equations are, in float32: what the fast path must equal."""
    with torch.autocast(target_BChw.device.type, enabled=False):
        keys = references_BRChw.float().transpose(1, 2).flatten(2)  # [B, C, N]
        queries = target_BChw.float().flatten(2)  # [B, C, h*w]
        values = values_BRKhw.float().transpose(1, 2).flatten(2)  # [B, K, N]
        logits = torch.einsum("bcj,bci->bji", queries, keys) / temperature
        mixture = torch.einsum("bji,bki->bkj", logits.softmax(dim=2), values)
    return mixture.unflatten(2, target_BChw.shape[-2:])


def _cells(maps_BRChw: Tensor) -> Tensor:
    """The cells of all frames of a clip in one row: [B, 1, N, C]."""
    return maps_BRChw.transpose(1, 2).flatten(2).transpose(1, 2)[:, None]


def mixture_negative_log_likelihood(mixture_BKhw: Tensor, truth_BKhw: Tensor) -> Tensor:
    """-log of the mixture's probability of the true value, mean over cells: a scalar.

    `truth` is one-hot. The mixture already is a probability. Where no reference cell has the true
    colour its probability is 0; a floor of 1e-6 keeps the loss finite there.
    """
    probability = (mixture_BKhw * truth_BKhw).sum(dim=1)
    return -(probability.clamp_min(0.0) + 1e-6).log().mean()
