"""The pointer: every target cell points at the reference cells and copies what lies there.

Vondrick et al. 2018, equations 1 and 2: A_ij = softmax over i of f_i . f_j, with i over *all* cells of
*all* references jointly, and y_j = sum over i of A_ij c_i.

Shape suffixes: B clips, R references, C channels, K values (colours, labels), h, w cells.
"""

import torch
from torch import Tensor


def copy_through_pointer(
    references_BRChw: Tensor,
    target_BChw: Tensor,
    values_BRKhw: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Mixture of the references' values at each target cell: [B, K, h, w].

    One-hot values make the result a probability over the K values at every cell: it needs no second
    softmax. Computed in float32 whatever the embeddings' precision.
    """
    with torch.autocast(target_BChw.device.type, enabled=False):
        keys = references_BRChw.float().transpose(1, 2).flatten(2)  # [B, C, R*h*w]
        queries = target_BChw.float().flatten(2)  # [B, C, h*w]
        values = values_BRKhw.float().transpose(1, 2).flatten(2)  # [B, K, R*h*w]
        logits = torch.einsum("bcj,bci->bji", queries, keys) / temperature
        mixture = torch.einsum("bji,bki->bkj", logits.softmax(dim=2), values)
    return mixture.unflatten(2, target_BChw.shape[-2:])


def mixture_negative_log_likelihood(mixture_BKhw: Tensor, truth_BKhw: Tensor) -> Tensor:
    """-log of the mixture's probability of the true value, mean over cells: a scalar.

    `truth` is one-hot. The mixture already is a probability. Where no reference cell has the true
    colour its probability is 0; a floor of 1e-6 keeps the loss finite there.
    """
    probability = (mixture_BKhw * truth_BKhw).sum(dim=1)
    return -(probability.clamp_min(0.0) + 1e-6).log().mean()
