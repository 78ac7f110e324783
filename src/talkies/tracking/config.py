"""Recipe keys of MLflow tracking and promotion."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from talkies.config import config
from talkies.config.schema import added
from talkies.tracking.names import valid_alias, valid_name, valid_store

Store = Annotated[str, AfterValidator(valid_store)]
Name = Annotated[str, AfterValidator(valid_name)]
Alias = Annotated[str, AfterValidator(valid_alias)]
License = Annotated[str, Field(max_length=200)]
Voices = Annotated[str, Field(min_length=1, max_length=500)]


@config
class GateConfig:
    """A promotion gate: metric `metric` of the run must be `op` `value`."""

    metric: str
    op: Literal[">=", "<="]
    value: float


@config
class TrackingConfig:
    """`uri`: None is a SQLite store beside the run folders; credentials come from MLflow's own variables, never from
    here. `register`: the registered model's name; `alias`: the one that `promote` moves; `gates` must all pass.
    `license`: the identifier that the model card gives (https://hf.co/docs/hub/repositories-licenses). `voices`:
    what it says of those whose voices the model was trained on: who they are, and by what right. A system that
    speaks with these voices demands it."""

    experiment: Name
    uri: Store | None = None
    register: Name | None = None
    alias: Alias = "champion"
    gates: tuple[GateConfig, ...] = ()
    license: License = "unknown"
    voices: Voices | None = added(default=None)
