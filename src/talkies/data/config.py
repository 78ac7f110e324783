"""Recipe keys of the shards that a phase reads."""

from talkies.config import config
from talkies.config.numbers import Workers


@config
class DataConfig:
    """`root`: a data root (`talkies prepare`); a curriculum fills it in. `shards` and `heldout` name sets in it."""

    shards: str
    heldout: str
    geometry: str
    root: str | None = None
    workers: Workers = 0
