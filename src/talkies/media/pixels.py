"""From decoded frames to pixels as they are shown: upright, BT.709 or sRGB, on white where they are transparent."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from av.sidedata.sidedata import Type
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image
from torch import Tensor

from talkies.media.colour import ColourError, Colours, colours
from talkies.media.orientation import Orientation, OrientationError
from talkies.media.profiles import to_srgb
from talkies.media.sidedata import side_data
from talkies.media.tones import to_bt709

# libav's default upsamples chroma by repetition, which costs small frames 2.5 dB. One thread: starting a pool for every
# frame takes longer than converting it.
CHROMA = (
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)
Treatment = Literal["tone-mapped", "laid on white", "deinterlaced"]


class Rendering:
    """Renders the frames of one stream; `treated` tells what more than decoding had to be done."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.treated: set[Treatment] = set()
        self._seen = False
        self._turn: Orientation | None = None
        self._converter = VideoReformatter()

    def render(self, frame: Any, turn: Orientation) -> Tensor:
        """uint8 [3, H, W] RGB as it is shown.

        Raises ColourError for colours that are not understood, OrientationError where not all frames lie alike.
        """
        if self._turn not in (None, turn):
            raise OrientationError(self.path, "is turned while it plays; cut it there, or re-encode it upright")
        self._turn = turn
        found = colours(frame, self.path)
        rgb, alpha = self._converted(frame, found)
        if alpha is None or bool((alpha == 255).all()):
            self._seen = True
        else:
            self._seen |= bool(alpha.any())
            self.treated.add("laid on white")
            rgb = on_white(rgb, alpha)
        return turn.apply(rgb)

    def finish(self) -> None:
        """Raises ColourError where nothing could be seen in any frame."""
        if not self._seen:
            raise ColourError(
                self.path, "is wholly transparent, so that its alpha cannot be meant; re-encode it without"
            )

    def _converted(self, frame: Any, found: Colours) -> tuple[Tensor, Tensor | None]:
        """uint8 RGB [3, H, W] and alpha [H, W]."""
        transparent = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
        deep = not found.plain
        name = ("rgba64le" if transparent else "rgb48le") if deep else ("rgba" if transparent else "rgb24")
        made = self._converter.reformat(
            frame, format=name, src_colorspace=found.matrix, interpolation=CHROMA, threads=1
        ).to_ndarray()
        if deep:
            made = self._mapped(made, found)
        if found.limited_grey:  # swscale takes all grey as full range
            made[..., :3] = ((made[..., :3].astype(np.float32) - 16) * (255 / 219)).round().clip(0, 255)
        made = self._profiled(frame, made) if found.plain else made
        pixels = torch.from_numpy(made).permute(2, 0, 1)
        return pixels[:3], pixels[3] if transparent else None

    def _mapped(self, made: np.ndarray, found: Colours) -> np.ndarray:
        """uint16 [H, W, 3 or 4] as uint8, in BT.709."""
        if found.hdr:
            self.treated.add("tone-mapped")
        values = torch.from_numpy(made.astype(np.float32) / 65535)
        colour = values[..., :3].permute(2, 0, 1)
        colour = to_bt709(colour, transfer=found.transfer, primaries=found.primaries).permute(1, 2, 0)
        mapped = torch.cat([colour, values[..., 3:]], dim=-1)
        return (mapped * 255).round().to(torch.uint8).numpy()

    def _profiled(self, frame: Any, made: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3 or 4] with the frame's colour profile applied."""
        profile = side_data(frame, Type.ICC_PROFILE) if frame.opaque is None else frame.opaque
        if profile is None:
            return made
        try:
            made[..., :3] = np.asarray(to_srgb(Image.fromarray(made[..., :3]), profile))
        except ValueError as error:
            raise ColourError(self.path, f"{error}; convert it to BT.709") from error
        return made


def on_white(rgb: Tensor, alpha: Tensor) -> Tensor:
    """uint8 [3, H, W] laid on white through its `alpha` [H, W] (255 covers)."""
    cover = alpha.int()
    return ((rgb.int() * cover + 255 * (255 - cover) + 127) // 255).to(torch.uint8)
