"""A phase that reads a track: its demixer is a codec like others, for shards, runs and releases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fifth import FifthSystem
from test_fifth_system import PHASE, PREPARE

from talkies.checkpoints.release import read_release
from talkies.codecs.demix_config import BandsConfig
from talkies.codecs.load import load_demixer
from talkies.config import DataError, RecipeError
from talkies.config.decode import decode_values
from talkies.data.shards import ShardSet
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.recipe.check import check
from talkies.recipe.components import codecs_read
from talkies.recipe.config import PhaseRecipe, decode_phase_values
from talkies.runs.place import Place
from talkies.runs.run_context import RunContext, prepare_data
from talkies.runs.run_phase import run_phase
from talkies.runs.source import open_source
from talkies.streams.system import Parts, Setup, Stored


class PartedSystem(FifthSystem):
    """The fifth system, which reads the speech of its clips besides."""

    codecs: Mapping[str, str] = {**FifthSystem.codecs, "sound": "audio", "demix": "tracks"}

    def stored(self, codecs: Mapping[str, Any]) -> dict[str, Stored]:
        return {"audio": Stored(codec="audio"), "speech": Stored(codec="sound", track="speech")}

    def parts(self, setup: Setup) -> Parts:
        one = super().parts(setup)
        return Parts(
            components=one.components, targets=one.targets, texts=one.texts, dropout=one.dropout,
            conditions=frozenset({"speech"}),
        )  # fmt: skip


PARTED = (*SYSTEMS, PartedSystem())
DEMIX: dict[str, Any] = {"kind": "bands", "bands": {"speech": [90, 1900]}}
CODECS: dict[str, Any] = {
    **PHASE["codecs"],
    "sound": {"kind": "log_mel", "channels": 8, "hop": 1280},
    "demix": DEMIX,
}


def recipe(**codecs: Any) -> PhaseRecipe:
    given = {name: section for name, section in {**CODECS, **codecs}.items() if section is not None}
    values = {**PHASE, "codecs": given, "validation": {"every": 4, "clips": 4, "samples": 0, "final_clips": 4}}
    return decode_phase_values(values, PARTED, where="parted.yaml")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    context = RunContext(runs=runs, store="", artifacts=None, registry=Path, bar=False, systems=PARTED)
    made = decode_values(PrepareConfig, {**PREPARE, "codecs": CODECS}, where="parted")
    return prepare_data(made, context, recipe_folder=runs)[0]


def trained(phase: PhaseRecipe, data: Path, folder: Path) -> Path:
    store = f"sqlite:///{folder.parent / 'mlflow.db'}"
    run_phase(
        phase,
        Place(folder=folder, data_root=data, store=store, artifacts=folder.parent / "artifacts"),
        siblings={},
        registry=Path,
        bar=False,
    )
    return folder


def test_shards_runs_and_releases_carry_the_demixer(data: Path, tmp_path: Path) -> None:
    identity = load_demixer(BandsConfig(bands={"speech": (90.0, 1900.0)}), key="codecs.demix").identity
    assert ShardSet.open(data / "sets" / "train").header.codecs["demix"] == identity
    run = trained(recipe(), data, tmp_path / "run" / "0001")
    info = read_release(run / "release")
    assert info["codecs"]["demix"] == identity
    assert info["recipe"]["codecs"]["demix"].items() >= DEMIX.items()
    source = open_source(str(run / "release"), Path, systems=PARTED)
    assert source.codecs.demix["demix"].identity == identity


def test_a_phase_with_another_demixer_is_refused(data: Path, tmp_path: Path) -> None:
    other = recipe(demix={"kind": "bands", "bands": {"speech": [80, 1900]}})
    assert codecs_read(other) == {"audio", "sound", "text", "demix"}
    with pytest.raises(DataError, match=r"was encoded with demix codec .* \(bands\), the recipe expects"):
        trained(other, data, tmp_path / "run" / "0001")


@pytest.mark.parametrize(
    ("demix", "why"),
    [
        (None, r"speaking phases read speech, tracks of the sound: add `codecs\.demix`"),
        ({"kind": "tracks", "names": ["music"]}, r"read speech, the track 'speech', but `codecs\.demix` makes only"),
        ({"kind": "bands", "bands": {"speech": [9, 9]}}, r"`codecs\.demix\.bands\.speech` is 9 to 9 Hz"),
    ],
)
def test_a_phase_that_reads_a_track_needs_its_demixer(demix: dict[str, Any] | None, why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        check(recipe(demix=demix))
