"""From decoded frames to pixels as displayed: upright, BT.709 or sRGB, laid on white where transparent."""

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
from talkies.media.tone_mapping import to_bt709

# libav's default upsamples chroma by repetition, which costs 2.5 dB on small frames. One thread: starting a pool for
# every frame takes longer than converting it.
CHROMA = (
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)
Treatment = Literal["tone-mapped", "laid on white", "deinterlaced"]


class Rendering:
    """Renders the frames of one stream; `treated` collects the treatments that they needed besides decoding."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.treated: set[Treatment] = set()
        self._seen = False
        self._turn: Orientation | None = None
        self._converter = VideoReformatter()

    def render(self, frame: Any, turn: Orientation) -> Tensor:
        """uint8 [3, H, W] RGB as displayed.

        Raises ColourError for unsupported colours, OrientationError if the orientation changes between frames.
        """
        if self._turn not in (None, turn):
            raise OrientationError(self.path, "changes its orientation while it plays; cut it there, or re-encode it")
        self._turn = turn
        space = colours(frame, self.path)
        rgb, alpha = self._converted(frame, space)
        if alpha is None or bool((alpha == 255).all()):
            self._seen = True
        else:
            self._seen |= bool(alpha.any())
            self.treated.add("laid on white")
            rgb = on_white(rgb, alpha)
        return turn.apply(rgb)

    def finish(self) -> None:
        """Raise ColourError if every frame was fully transparent."""
        if not self._seen:
            raise ColourError(
                self.path, "is fully transparent, so its alpha cannot be intended; re-encode it without alpha"
            )

    def _converted(self, frame: Any, space: Colours) -> tuple[Tensor, Tensor | None]:
        """uint8 RGB [3, H, W] and alpha [H, W]."""
        transparent = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
        deep = not space.plain
        name = ("rgba64le" if transparent else "rgb48le") if deep else ("rgba" if transparent else "rgb24")
        values = self._converter.reformat(
            frame, format=name, src_colorspace=space.matrix, interpolation=CHROMA, threads=1
        ).to_ndarray()
        if deep:
            values = self._mapped(values, space)
        if space.limited_grey:  # swscale treats all grey as full range
            values[..., :3] = ((values[..., :3].astype(np.float32) - 16) * (255 / 219)).round().clip(0, 255)
        values = self._profiled(frame, values) if space.plain else values
        pixels = torch.from_numpy(values).permute(2, 0, 1)
        return pixels[:3], pixels[3] if transparent else None

    def _mapped(self, encoded: np.ndarray, space: Colours) -> np.ndarray:
        """uint16 [H, W, 3 or 4] as uint8, in BT.709."""
        if space.hdr:
            self.treated.add("tone-mapped")
        values = torch.from_numpy(encoded.astype(np.float32) / 65535)
        colour = values[..., :3].permute(2, 0, 1)
        colour = to_bt709(colour, transfer=space.transfer, primaries=space.primaries).permute(1, 2, 0)
        mapped = torch.cat([colour, values[..., 3:]], dim=-1)
        return (mapped * 255).round().to(torch.uint8).numpy()

    def _profiled(self, frame: Any, values: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3 or 4] with the frame's colour profile applied."""
        profile = side_data(frame, Type.ICC_PROFILE) if frame.opaque is None else frame.opaque
        if profile is None:
            return values
        try:
            values[..., :3] = np.asarray(to_srgb(Image.fromarray(values[..., :3]), profile))
        except ValueError as error:
            raise ColourError(self.path, f"{error}; convert it to BT.709") from error
        return values


def on_white(rgb: Tensor, alpha: Tensor) -> Tensor:
    """uint8 [3, H, W] laid on white with its `alpha` [H, W] (255: opaque)."""
    cover = alpha.int()
    return ((rgb.int() * cover + 255 * (255 - cover) + 127) // 255).to(torch.uint8)
