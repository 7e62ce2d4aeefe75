"""The high-pass filters that a steganalyst begins with: they take the image away and leave what a message adds."""

import torch
from torch import Tensor


def high_pass_filters() -> Tensor:
    """[RESIDUALS, 5, 5]: a pixel beside its prediction from the neighbours; each sums to 0, and the pixel weighs 1.

    Of the spatial rich model (Fridrich and Kodovsky 2012, section II): first order across and down; second order
    across, down and along both diagonals; SQUARE 3x3 (KB) and SQUARE 5x5 (KV). Ye et al. 2017 take all 30.
    """
    filters = torch.zeros(8, 5, 5)
    filters[0, 2, 2:4] = filters[1, 2:4, 2] = torch.tensor([-1.0, 1.0])
    second = torch.tensor([0.5, -1.0, 0.5])
    filters[2, 2, 1:4] = filters[3, 1:4, 2] = second
    filters[4, 1:4, 1:4] = torch.diag(second)
    filters[5, 1:4, 1:4] = torch.diag(second).flip(1)
    filters[6, 1:4, 1:4] = torch.tensor([[-1.0, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
    edge, inner = [-1.0, 2, -2, 2, -1], [2.0, -6, 8, -6, 2]
    filters[7] = torch.tensor([edge, inner, [-2.0, 8, -12, 8, -2], inner, edge]) / 12
    return filters
