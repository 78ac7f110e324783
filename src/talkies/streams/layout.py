"""How the released weights of a system lie in a folder, both ways: what `talkies import` reads and `talkies export`
writes. Pure description, without torch. A layout only renames: no tensor changes its values, shape or dtype.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = Mapping[str, Any]
"""The content of a JSON file."""
CONFIG = "config.json"


def same(key: str) -> str:
    """The name itself: names that are ours."""
    return key


@dataclass(frozen=True, kw_only=True)
class Held:
    """A component in a layout: its `folder`, which holds config.json and `stem`.safetensors, or shards of it and an
    index, and may hold other components in the same files; `classes`: what `_class_name` in its config.json may be, the
    first is written.

    `ours`: name of a tensor there -> our name below the component (None: it is none of ours); `theirs`: the inverse.
    """

    folder: str
    classes: tuple[str, ...]
    ours: Callable[[str], str | None] = same
    theirs: Callable[[str], str] = same
    stem: str = "diffusion_pytorch_model"


def by_folder(components: Mapping[str, Held]) -> dict[str, dict[str, Held]]:
    """Folder -> the components in it, which share its config.json and its files."""
    found: dict[str, dict[str, Held]] = {}
    for name, held in components.items():
        found.setdefault(held.folder, {})[name] = held
    return found


@dataclass(frozen=True, kw_only=True)
class HeldCodec:
    """A pretrained codec in a layout. `folders`: folder below codecs/<part>/ of a release ("": that folder itself) ->
    folder in the layout; the first has the config.json that `section` reads: the recipe's `codecs.<part>`."""

    folders: Mapping[str, str]
    section: Callable[[Json], dict[str, Any]]


class Layout(Protocol):
    """A form of released folders.

    `components` and `codecs` by our names; `files`: small files besides config.json that belong to it, such as
    model_index.json, if they are there; `geometry`: of clips, as a recipe writes it. All methods raise ValueError,
    whose text names the key, for what a folder may say and this system cannot do.
    """

    @property
    def components(self) -> Mapping[str, Held]:
        """Where each lies."""

    @property
    def codecs(self) -> Mapping[str, HeldCodec]:
        """Where each lies."""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths in the folder."""

    @property
    def geometry(self) -> str:
        """HEIGHTxWIDTHxFRAMES@FPS."""

    def phase(self, components: Collection[str]) -> dict[str, Any]:
        """The recipe's `phase` that builds exactly these components."""

    def model(self, configs: Mapping[str, Json], files: Mapping[str, Json]) -> dict[str, Any]:
        """The recipe's `model`, from config.json by component and the content of `files` that are there."""

    def sections(self, model: Any, components: Collection[str], configs: Mapping[str, Json]) -> dict[str, Any]:
        """The recipe's `codecs`, from the decoded `model` and config.json by codec; those that are not there have the
        sizes that the model needs."""

    def sampling(self, files: Mapping[str, Json]) -> dict[str, Any]:
        """The recipe's `sampling`, from the schedule among `files`."""

    def flow(self, files: Mapping[str, Json]) -> dict[str, Any]:
        """The recipe's `flow`, from the schedule among `files`: what the networks predict. Empty: the default."""

    def taken(self, components: Collection[str], files: Mapping[str, Json]) -> dict[str, float]:
        """What of the recipe with these components no file of the folder says: name for the user -> default."""

    def config(self, component: str, model: Any) -> dict[str, Any]:
        """The config.json of a component of the decoded `model`."""

    def written(self, model: Any, components: Collection[str], sampling: Any, flow: Any) -> dict[str, dict[str, Any]]:
        """The content of `files`, from the decoded `model`, `sampling` and `flow` of a recipe."""
