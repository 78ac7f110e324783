"""Converts any supported colours to BT.709 via linear light (ITU-R BT.709, BT.1886, BT.2100, BT.2408).

libav's own conversions were measured and are not used: from BT.2020 to BT.709, swscale (FFmpeg 8.1) maps (40, 180, 60)
to (32, 165, 56) and takes 2.5 s per file for its table; `colorspace` maps it to (64, 181, 65).
"""

from collections.abc import Mapping

import numpy as np
import torch
from av.video.reformatter import ColorPrimaries, ColorTrc
from torch import Tensor

GAMMA = 2.4
"""BT.1886: the exponent with which a display converts SDR values to light, whatever the camera's curve."""
WHITE = 203.0
"""cd/m2 of HDR's reference white (BT.2408), which becomes SDR's white."""
PEAK = 1000.0 / WHITE
"""The brightest light that is kept distinct: BT.2100's nominal HLG display, and the mastering level of HDR10."""
KNEE = 0.6
"""Light up to this share of white is unchanged; brighter light, up to PEAK, is compressed."""
HLG_GAMMA = 1.2
HLG_LUMA = (0.2627, 0.6780, 0.0593)
HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
D65 = (0.3127, 0.3290)
CHROMATICITIES: Mapping[int, tuple[tuple[float, float], ...]] = {
    ColorPrimaries.BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    ColorPrimaries.BT470BG: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    ColorPrimaries.SMPTE170M: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    ColorPrimaries.SMPTE240M: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    ColorPrimaries.BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    ColorPrimaries.SMPTE432: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    ColorPrimaries.EBU3213: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
"""x and y of red, green and blue (ITU-T H.273). All have the white of D65."""


def to_bt709(encoded: Tensor, *, transfer: int, primaries: int) -> Tensor:
    """R'G'B' [3, ...] in [0, 1] as BT.709 in [0, 1]. HDR is tone-mapped: hues and light below KNEE are preserved.
    Colours outside BT.709 are clipped."""
    if transfer == ColorTrc.SMPTE2084:
        light = _pq(encoded) * (10000 / WHITE)
    elif transfer == ColorTrc.ARIB_STD_B67:
        light = _hlg(encoded) * PEAK
    else:
        light = encoded**GAMMA
    matrix = torch.from_numpy(_matrix(primaries)).to(light)
    light = torch.einsum("ij,j...->i...", matrix, light).clamp_(min=0)
    if transfer in HDR:
        light = _compressed(light)
    return light.clamp_(max=1) ** (1 / GAMMA)


def _matrix(primaries: int) -> np.ndarray:
    """Linear RGB of `primaries` to linear BT.709."""
    return np.linalg.solve(_to_xyz(ColorPrimaries.BT709), _to_xyz(primaries))


def _to_xyz(primaries: int) -> np.ndarray:
    columns = np.array([_xyz(*point) for point in CHROMATICITIES[primaries]]).T
    return np.asarray(columns * np.linalg.solve(columns, _xyz(*D65)))


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _pq(encoded: Tensor) -> Tensor:
    """Light in units of 10,000 cd/m2 (BT.2100, table 4)."""
    root = encoded ** (1 / 78.84375)
    return ((root - 0.8359375).clamp(min=0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def _hlg(encoded: Tensor) -> Tensor:
    """Light of a display of 1000 cd/m2, in units of its white (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = torch.where(encoded <= 0.5, encoded**2 / 3, (((encoded - c) / a).exp() + b) / 12)
    luma = torch.einsum("i,i...->...", torch.tensor(HLG_LUMA).to(scene), scene)
    return scene * luma ** (HLG_GAMMA - 1)


def _compressed(light: Tensor) -> Tensor:
    """All three components scaled by one factor, so that the largest is at most 1: a Moebius curve with slope 1 at KNEE
    and value 1 at PEAK."""
    top = light.amax(dim=0).clamp(min=1e-6, max=PEAK)
    a = -(KNEE**2) * (PEAK - 1) / (KNEE**2 - 2 * KNEE + PEAK)
    b = (KNEE**2 - 2 * KNEE * PEAK + PEAK) / (PEAK - 1)
    scale = (b**2 + 2 * b * KNEE + KNEE**2) / (b - a)
    curved = torch.where(top <= KNEE, top, scale * (top + a) / (top + b))
    return light * (curved / top)
