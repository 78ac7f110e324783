"""Frechet distances over simple hand-made features: no network, no download.

They compare a set of clips with a reference set of the same geometry, per modality. The features describe how clips
look and sound as a whole (colour, detail, motion; spectrum, envelope), not what they show. Distances over other
features or geometries are not comparable with these.
"""

from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

SPREAD_FLOOR = 1e-3
"""Minimum standard deviation that a feature is divided by, so that a constant feature still counts."""
WINDOW_SECONDS = 0.032
BANDS = 8
BAND_RANGE = (50.0, 8000.0)
SILENCE = 1e-3
"""RMS amplitude (1 is full scale) below which a window is silent."""


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance between Gaussians fitted to rows a [N, D] and b [M, D]; >= 0, symmetric, 0 for a = b.

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)). The last trace is computed as the nuclear norm of A^(1/2) B^(1/2),
    which needs no inverse and no jitter if there are fewer rows than features. Raises ValueError for fewer than 2 rows
    or values that are not finite.
    """
    roots, means, traces = [], [], []
    for rows in (a.double(), b.double()):
        if len(rows) < 2:
            raise ValueError(f"a Frechet distance needs at least 2 clips per set, found {len(rows)}")
        if not bool(rows.isfinite().all()):
            raise ValueError("a Frechet distance needs finite features; a clip holds NaN or infinite values")
        covariance = torch.cov(rows.T).reshape(rows.shape[1], rows.shape[1])
        values, vectors = torch.linalg.eigh(covariance)
        # Rounding leaves tiny negative eigenvalues if the covariance is singular.
        roots.append(vectors * values.clamp(min=0).sqrt() @ vectors.T)
        means.append(rows.mean(0))
        traces.append(covariance.trace())
    overlap = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    distance = (means[0] - means[1]).square().sum() + traces[0] + traces[1] - 2 * overlap
    return max(0.0, float(distance))


def standardised_distance(clips: Tensor, reference: Tensor) -> float:
    """`frechet_distance` of rows [N, D] and [M, D] after dividing each feature by its deviation in the reference."""
    spread = reference.double().std(0).clamp(min=SPREAD_FLOOR)
    return frechet_distance(clips.double() / spread, reference.double() / spread)


def video_features(frames: Tensor) -> Tensor:
    """[24] fp64 of one clip [F, 3, H, W] in [-1, 1], sides of at least 4 pixels.

    Mean colour per quarter (12) and its deviation (3), motion per colour (3) and its unevenness in time (1), horizontal
    and vertical detail at two scales (4), deviation of the brightness in time (1).
    """
    if min(frames.shape[-2:]) < 4:
        raise ValueError(f"video features need frames of at least 4 x 4 pixels, found {tuple(frames.shape[-2:])}")
    x = frames.double()
    moves = (x[1:] - x[:-1]).square().mean((2, 3)) if len(x) > 1 else x.new_zeros(1, 3)
    detail = []
    for scaled in (x, avg_pool2d(x, 2)):
        detail += [scaled.diff(dim=dim).abs().mean() for dim in (-1, -2)]
    return torch.cat(
        [
            adaptive_avg_pool2d(x, 2).mean(0).flatten(),
            x.std((0, 2, 3), correction=0),
            (moves + 1e-6).log10().mean(0),
            (moves.mean(1) + 1e-6).log10().std(correction=0)[None],
            (torch.stack(detail) + 1e-4).log10(),
            x.mean((1, 2, 3)).std(correction=0)[None],
        ]
    )


def audio_features(samples: Tensor, sample_rate: int) -> Tensor:
    """[24] fp64 of mono samples [S] in [-1, 1].

    Mean and deviation in time of the log power in eight bands of equal ratio from 50 Hz to 8 kHz (16); of the log RMS
    envelope mean, deviation, 10/50/90 % quantiles and mean change (6); rate of zero crossings, share of silence (2).
    """
    if not len(samples):
        raise ValueError("audio features need at least 1 sample, found none")
    windows = _windows(samples.double(), sample_rate)
    powers = _band_powers(windows, sample_rate)
    rms = windows.square().mean(1).sqrt()
    level = (rms + 1e-4).log10()
    quantiles = torch.quantile(level, torch.tensor([0.1, 0.5, 0.9], dtype=level.dtype))
    change = level.diff().abs().mean() if len(level) > 1 else level.new_zeros(())
    crossings = (windows[:, 1:] * windows[:, :-1] < 0).double().mean()
    silence = (rms < SILENCE).double().mean()
    envelope = torch.stack([level.mean(), level.std(correction=0), *quantiles, change, crossings, silence])
    return torch.cat([powers.mean(0), powers.std(0, correction=0), envelope])


def _windows(samples: Tensor, sample_rate: int) -> Tensor:
    """Half-overlapping windows [N, W] that cover the samples, the last one completed with silence."""
    size = max(8, round(WINDOW_SECONDS * sample_rate))
    hop = size // 2
    count = max(1, ceil((len(samples) - size) / hop) + 1)
    return pad(samples, (0, (count - 1) * hop + size - len(samples))).unfold(0, size, hop)


def _band_powers(windows: Tensor, sample_rate: int) -> Tensor:
    """log10 power [N, BANDS]; a band above half the sample rate is at the floor."""
    size = windows.shape[1]
    shape = torch.hann_window(size, dtype=windows.dtype)
    power = torch.fft.rfft(windows * shape).abs().square() / shape.sum().square()
    low, high = BAND_RANGE
    edges = low * (high / low) ** (torch.arange(BANDS + 1, dtype=windows.dtype) / BANDS)
    band = torch.bucketize(torch.fft.rfftfreq(size, 1 / sample_rate, dtype=windows.dtype), edges, right=True) - 1
    sums = [power[:, band == k].sum(1) for k in range(BANDS)]
    return (torch.stack(sums, 1) + 1e-10).log10()
