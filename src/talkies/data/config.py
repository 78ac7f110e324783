"""Recipe keys of the shards that a phase reads."""

from talkies.config import config
from talkies.config.numbers import Workers
from talkies.streams.clip_size import ClipSize


@config
class DataConfig:
    """`root`: a data root (`talkies prepare`); a curriculum fills it in. `shards` and `heldout` name sets in it.
    `geometry`: as their sets have it."""

    shards: str
    heldout: str
    geometry: ClipSize
    root: str | None = None
    workers: Workers = 0
