"""What `talkies sample` may be given for any of the systems. Read by `--help`, so it imports nothing heavy."""

from talkies.models.mova import options as mova

MEDIA: dict[str, str] = {**mova.MEDIA}
SCALES: dict[str, str] = {**mova.SCALES}
