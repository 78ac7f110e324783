"""The colour space of a decoded frame: its tags, and defaults where they are missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.sidedata.sidedata import Type
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from talkies.media.container import MediaError
from talkies.media.sidedata import side_data
from talkies.media.tone_mapping import CHROMATICITIES, HDR

UNSPECIFIED, RESERVED = 2, (0, 3)
"""ITU-T H.273's "unspecified"; reserved values are treated the same."""
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
"""H.273's matrix coefficients by number, in swscale's names."""
HD_HEIGHT, HD_WIDTH = 720, 1280
"""Without a matrix tag, players treat pictures of at least this height (Chromium) or width (mpv) as BT.709, smaller
ones as BT.601."""
SDR = (
    *(ColorTrc.BT709, ColorTrc.UNSPECIFIED, ColorTrc.GAMMA22, ColorTrc.GAMMA28, ColorTrc.SMPTE170M),
    *(ColorTrc.SMPTE240M, ColorTrc.IEC61966_2_4, ColorTrc.BT1361_ECG, ColorTrc.IEC61966_2_1),
    *(ColorTrc.BT2020_10, ColorTrc.BT2020_12, *RESERVED),
)
"""Transfer characteristics whose values players send to the display unchanged."""


class ColourError(MediaError):
    """Pictures whose colours cannot be determined."""


@dataclass(frozen=True, kw_only=True)
class Colours:
    """The colour space of a picture. `matrix` is None if it is RGB or grey already."""

    matrix: Colorspace | None
    transfer: int
    primaries: int
    limited_grey: bool

    @property
    def hdr(self) -> bool:
        """Whether the picture must be tone-mapped."""
        return self.transfer in HDR

    @property
    def plain(self) -> bool:
        """Whether R'G'B' is BT.709 already."""
        return not self.hdr and self.primaries == ColorPrimaries.BT709


def colours(frame: Any, path: Path | str) -> Colours:
    """The colours by a frame's tags, or as players assume without them. Raises ColourError for unsupported tags."""
    _refuse_dolby_vision(frame, path)
    transfer = frame.color_trc
    if transfer not in SDR and transfer not in HDR:
        _refuse(path, f"transfer characteristics {_name(ColorTrc, transfer)}")
    grey = len(frame.format.components) < 3 and frame.format.name != "pal8"
    coded = not frame.format.is_rgb and not grey and frame.format.name != "pal8"
    primaries = _primaries(frame, path, coded)
    return Colours(
        matrix=_matrix(frame, path, primaries) if coded else None,
        transfer=transfer,
        primaries=primaries,
        limited_grey=grey and frame.color_range == ColorRange.MPEG,
    )


def _matrix(frame: Any, path: Path | str, primaries: int) -> Colorspace:
    tag = frame.colorspace
    if tag in (UNSPECIFIED, *RESERVED[1:]):
        if primaries == ColorPrimaries.BT2020:
            return Colorspace.BT2020
        hd = frame.height >= HD_HEIGHT or frame.width >= HD_WIDTH
        return Colorspace.ITU709 if hd else Colorspace.ITU601
    if tag not in MATRICES:
        _refuse(path, f"matrix coefficients {tag}")
    return MATRICES[tag]


def _primaries(frame: Any, path: Path | str, coded: bool) -> int:
    """The tagged primaries; untagged, BT.2020's for HDR or with BT.2020's matrix, else BT.709's."""
    tag = frame.color_primaries
    if tag in (UNSPECIFIED, *RESERVED):
        wide = frame.color_trc in HDR or (coded and MATRICES.get(frame.colorspace) == Colorspace.BT2020)
        return ColorPrimaries.BT2020 if wide else ColorPrimaries.BT709
    if tag not in CHROMATICITIES:
        _refuse(path, f"primaries {_name(ColorPrimaries, tag)}")
    return int(tag)


def _refuse_dolby_vision(frame: Any, path: Path | str) -> None:
    """Dolby Vision over a tagged base layer is shown as that layer; profile 5 has its own matrix and no tags."""
    if frame.color_trc in (UNSPECIFIED, *RESERVED) and side_data(frame, Type.DOVI_METADATA) is not None:
        raise ColourError(
            path, "is Dolby Vision without an HDR10, HLG or SDR base layer (profile 5); convert it to SDR (BT.709)"
        )


def _refuse(path: Path | str, what: str) -> None:
    raise ColourError(path, f"its colours are tagged with {what}, which are not known here; convert it to BT.709")


def _name(kind: Any, number: int) -> str:
    return f"{number} ({kind(number).name})" if number in list(kind) else str(number)
