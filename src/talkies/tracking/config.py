"""Recipe keys of MLflow tracking and promotion."""

from typing import Literal

from talkies.config import config


@config
class GateConfig:
    """A promotion gate: metric `metric` of the run must be `op` `value`."""

    metric: str
    op: Literal[">=", "<="]
    value: float


@config
class TrackingConfig:
    """`uri`: None is a SQLite store beside the run folders. `register`: the registered model's name; `alias` is what
    `promote` moves; `gates` must all hold."""

    experiment: str
    uri: str | None = None
    register: str | None = None
    alias: str = "champion"
    gates: tuple[GateConfig, ...] = ()
