"""Two numbers beside a picture of a component: how smooth it is, and whether it shows what the component stands for."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor


def spectral_slope(x: Tensor) -> Tensor:
    """The exponent a of power ~ frequency^a, float64 [n], of images [n, C, H, W] with H = W = s >= 8.

    Power of the mean-free image's 2-d Fourier transform, averaged over channels and over rings of radial frequency
    1, 2, ..., s/2 - 1 cycles an image (each takes what rounds to it, and counts at its mean frequency), then least
    squares of log power on log frequency.
    White noise has 0, natural images about -2 (amplitude falls as 1/f: Field 1987); below is smoother. No window is
    applied, so that noise of a known spectrum gives its exponent. A ring without power counts as 1e-20.
    """
    side = x.shape[-1]
    image = x.double()
    power = torch.fft.fft2(image - image.mean((2, 3), keepdim=True)).abs().square().mean(1)
    along = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64, device=x.device)
    radius = torch.hypot(along[:, None], along[None, :]).flatten()
    rings = torch.arange(1, side // 2, device=x.device)
    member = (radius.round()[None, :] == rings[:, None]).double()
    member /= member.sum(1, keepdim=True)
    log = (power.flatten(1) @ member.T).clamp_min(1e-20).log()
    frequency = (member @ radius).log()
    centred = frequency - frequency.mean()
    return (log @ centred) / centred.square().sum()


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """The probability that a positive's score exceeds a negative's, ties counting half (Mann-Whitney U / (n m))."""
    n, m = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def likeness(made: Tensor, real: Tensor) -> Tensor:
    """How near representations [k, r] lie to those of real images [n, r]: [k, n], the cosine after the real images'
    mean is taken off.

    The cosine and not the distance: an image made by ascent can have a much longer representation than any real one,
    and its distances to them would then say how long theirs are. The mean is taken off because representations after
    a ReLU all point into one orthant.
    """
    mean = real.double().mean(0)
    return F.normalize(made.double() - mean, dim=1) @ F.normalize(real.double() - mean, dim=1).T


def meaning(likenesses: np.ndarray, top: np.ndarray) -> float:
    """AUROC of one picture's likeness to n real images, [n]: the component's top images (their places) against all
    the others.

    All others and not a draw of them: it is the expectation over draws. 1: every top image is nearer than any other;
    .5: no nearer.
    """
    others = np.ones(len(likenesses), dtype=bool)
    others[top] = False
    return auroc(likenesses[top], likenesses[others])


def kinship(real: Tensor, top: Tensor) -> float:
    """What `meaning` can reach: the same AUROC for each real top image in the picture's place, the mean over them.

    Each stands against the other top images and all images that are no top image. Low where the top images have
    nothing in common that the judge sees. real: [n, r]; top: int64 [t], their places.
    """
    alike = likeness(real[top], real).cpu().numpy()
    places = top.cpu().numpy()
    others = np.setdiff1d(np.arange(len(real)), places)
    return float(np.mean([auroc(row[np.delete(places, at)], row[others]) for at, row in enumerate(alike)]))
