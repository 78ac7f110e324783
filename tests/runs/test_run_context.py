"""The folder of prepared data: one per recipe and per media, from whatever working folder."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from talkies.config import DataError, RecipeError, UserError
from talkies.config.decode import decode, decode_values
from talkies.config.source import load
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.runs.folders import RunLockedError, locked, wait_unlocked
from talkies.runs.lookup import DATA_FILE, data_of, record_data
from talkies.runs.recorded import read_as
from talkies.runs.records import DATA
from talkies.runs.run_context import RunContext, codecs_folder, prepare_data, prepare_part

TOY = Path(__file__).parents[2] / "recipes" / "mova" / "toy"
RUNS = Path("runs")


def recipe(path: str, kind: str = "folder") -> PrepareConfig:
    """One set from the clips at `path`."""
    values = {
        "name": "mine",
        "sources": {"clips": {"kind": kind, "path": path}},
        "codecs": {"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}},
        "sets": {"train": {"source": "clips", "geometry": "32x32x25@12"}},
        "fit_sets": ["train"],
    }
    return decode_values(PrepareConfig, values, where="test")


SMALL = {"source": "faces", "geometry": "32x32x25@12.5"}
TWO_SETS = decode_values(
    PrepareConfig,
    {
        "name": "two",
        "sources": {"faces": {"kind": "synthetic", "clips": 6, "heldout": 2}},
        "codecs": {"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}},
        "sets": {"train": SMALL, "heldout": {**SMALL, "split": "heldout"}},
        "fit_sets": ["train"],
    },
    where="test",
)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with `clips` and `list.jsonl` in each."""
    for name in ("one", "two"):
        (tmp_path / name / "clips").mkdir(parents=True)
        (tmp_path / name / "list.jsonl").touch()
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.parametrize(("path", "kind"), [("./clips", "folder"), ("list.jsonl", "manifest")])
def test_one_relative_path_in_two_places_makes_two_data_folders(
    places: tuple[Path, Path], path: str, kind: str
) -> None:
    one, two = (data_of(RUNS, recipe(path, kind), recipe_folder=place) for place in places)
    assert one != two
    assert one.parent == two.parent == RUNS / "data"


def test_one_folder_of_media_spelled_differently_makes_one_data_folder(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = places
    (two / "linked").symlink_to(one / "clips")
    monkeypatch.chdir(one)
    paths = [("./clips", one), ("clips", Path()), ("../one/clips", two), ("linked", two), (f"{one}/clips", tmp_path)]
    assert len({data_of(RUNS, recipe(path), recipe_folder=place) for path, place in paths}) == 1


def test_data_named_by_schema_1_are_found(tmp_path: Path) -> None:
    """From any folder, since the recipe has no paths; data of another recipe are not found."""
    toy = decode(PrepareConfig, load(TOY / "prepare.yaml"))
    (new,) = {data_of(tmp_path, toy, recipe_folder=place) for place in (TOY, tmp_path)}
    old = tmp_path / "data" / "mova-toy-d9a110ef"
    old.mkdir(parents=True)
    assert data_of(tmp_path, toy, recipe_folder=TOY) == old != new
    assert data_of(tmp_path, replace(toy, fit_clips=95), recipe_folder=TOY) not in (old, new)


def test_data_are_found_by_their_recorded_recipe(tmp_path: Path) -> None:
    """Whatever their name; damaged records, and those of other recipes, are passed over."""
    homes = {digit: tmp_path / "data" / f"two-{digit * 8}" for digit in "0123"}
    for home in homes.values():
        home.mkdir(parents=True)
    record_data(homes["1"], replace(TWO_SETS, seed=5), recipe_folder=tmp_path)
    (homes["2"] / DATA_FILE).write_text("torn")
    assert data_of(tmp_path, TWO_SETS, recipe_folder=tmp_path) not in homes.values()
    record_data(homes["3"], TWO_SETS, recipe_folder=tmp_path)
    assert data_of(tmp_path, TWO_SETS, recipe_folder=tmp_path) == homes["3"]
    assert data_of(tmp_path, replace(TWO_SETS, seed=5), recipe_folder=tmp_path) == homes["1"]


def test_data_of_another_recipe_are_never_replaced(tmp_path: Path) -> None:
    """A default that has changed gives another recipe the name that the data have."""
    root = data_of(tmp_path, TWO_SETS, recipe_folder=tmp_path)
    record_data(root, replace(TWO_SETS, fit_clips=95), recipe_folder=tmp_path)
    with pytest.raises(DataError, match=rf"{root} holds the data of another recipe, or a damaged"):
        data_of(tmp_path, TWO_SETS, recipe_folder=tmp_path)


def test_a_path_that_does_not_exist_makes_no_folder(tmp_path: Path) -> None:
    context = RunContext(runs=tmp_path / "runs", store="", artifacts=None, registry=Path, bar=False, systems=SYSTEMS)
    with pytest.raises(RecipeError, match=r"`sources\.clips\.path`: .*nowhere is not a folder"):
        prepare_data(recipe("nowhere"), context, recipe_folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


CLIPS = {"clips": {"kind": "folder", "path": "clips"}}
FITTED = {"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}}
MTV = {"video": {"kind": "linear_video"}, "sound": {"kind": "log_mel", "hop": 1280}, "text": {"kind": "bytes"}}
SCENES = {"kind": "synthetic", "domain": "scenes", "clips": 4}
DUAL = {"by": {"kind": "demucs", "weights": "clips"}, "l1": 0.1}
LATE: dict[str, tuple[dict[str, Any], type[UserError], str]] = {
    "no set": ({"sets": {}}, RecipeError, "`sets` is empty"),
    "no folder of weights": (
        {"codecs": {**FITTED, "text": {"kind": "byt5", "weights": "nowhere"}}}, RecipeError,
        r"`codecs\.text\.weights`: nowhere is not a folder",
    ),
    "no file in it": (
        {"codecs": {**FITTED, "text": {"kind": "byt5", "weights": "clips"}}}, DataError,
        "cannot read clips/text_encoder/config.json",
    ),
    "no network to fit": (
        {"codecs": {**FITTED, "audio": {"kind": "oobleck", "weights": "nowhere"}}}, RecipeError,
        r"`codecs\.audio\.weights`: nowhere is not a folder",
    ),
    "no config of one": (
        {"codecs": {**FITTED, "audio": {"kind": "oobleck", "weights": "clips"}}}, DataError, r"clips/config\.json",
    ),
    "motion alone": (
        {"codecs": {**FITTED, "video": {"kind": "linear_video", "motion": 12}}}, RecipeError,
        r"`codecs\.video` \(linear_video\): `motion` is 12, but it must be below `channels`, 12",
    ),
    "channels of a block": (
        {"codecs": {**FITTED, "video": {"kind": "linear_video", "channels": 16, "block": 2}}}, RecipeError,
        "has at most 12 for what stands still, and 12 for motion",
    ),
    "one channel": (
        {"codecs": {**FITTED, "audio": {"kind": "linear_audio", "channels": 1}}}, RecipeError,
        r"`codecs\.audio` \(linear_audio\): 1 channels and a hop of 1280: at least 2",
    ),
    "channels of a step": (
        {"codecs": {**FITTED, "audio": {"kind": "source_filter", "channels": 36}}}, RecipeError,
        r"`codecs\.audio` \(source_filter\): `channels` is 36: at a hop of 640 there are at most 35",
    ),
    "bands": (
        {"codecs": {**FITTED, "audio": {"kind": "source_filter", "channels": 3}}}, RecipeError, "at least 4 channels",
    ),
    "no codecs to take": (
        {"codecs_from": "base", "fit_sets": []}, DataError, r"`codecs_from`: no fitted codec in .*base/codecs/video",
    ),
    "no media": ({"sources": CLIPS}, DataError, "source 'clips' has 0 media files"),
    "all held out": (
        {"sources": {"clips": {"kind": "synthetic", "clips": 4, "heldout": 4}}}, RecipeError,
        r"`sources\.clips\.heldout` is 4, of 4 clips: nothing is left",
    ),
    "longer than rendered": (
        {"sets": {"train": {"source": "clips", "geometry": "32x32x27@12.5"}}}, RecipeError,
        r"`sets\.train\.geometry` is 32x32x27@12\.5, but `sources\.clips` renders 25 frames: ask for fewer, or raise",
    ),
    "of another rate": (
        {"sets": {"train": {"source": "clips", "geometry": "32x32x25@25"}}}, RecipeError,
        r"renders 12\.5 frames per second: give both the same rate",
    ),
    "no weights of a demixer": (
        {"system": "mtv", "codecs": {**MTV, "demix": {"kind": "demucs", "weights": "nowhere"}}}, RecipeError,
        r"`codecs\.demix\.weights`: nowhere is not a folder",
    ),
    "no file of a second one": (
        {
            "system": "mtv", "codecs": {**MTV, "demix": {"kind": "bands"}},
            "sets": {"train": {"source": "clips", "geometry": "32x32x25@12.5", "dual_demix": DUAL}},
        }, DataError, r"clips: needed weights as \*\.safetensors, found none",
    ),
    "no stems": (
        {"system": "mtv", "sources": {"clips": {"kind": "folder", "path": "films"}},
         "codecs": {**MTV, "demix": {"kind": "tracks"}}},
        DataError, r"source 'clips': 1 of 1 files lack a file of their tracks .* a\.mp4 has no a\.speech\.wav",
    ),
    "stems that are not rendered": (
        {"system": "mtv", "sources": {"clips": SCENES}, "codecs": {**MTV, "demix": {"kind": "tracks"}}}, RecipeError,
        r"reads tracks from files \*\.\w+\.wav, but `sources\.clips` renders no files of tracks \(`stems`\): let it",
    ),
    "another stem than is rendered": (
        {"system": "mtv", "sources": {"clips": {**SCENES, "stems": True}},
         "codecs": {**MTV, "demix": {"kind": "tracks", "names": ["speech", "speech2"]}}}, RecipeError,
        r"from files \*\.speech2\.wav, but `sources\.clips` renders \*\.speech\.wav, \*\.effects\.wav",
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", [prepare_data, partial(prepare_part, number=None)], ids=["whole", "shared"])
@pytest.mark.parametrize("case", LATE)
def test_what_can_be_known_before_is_refused_before_anything_is_written(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, case: str, make: Callable[..., object]
) -> None:
    """By a preparation as a whole, and by the job that makes what all sets share."""
    sections, error, message = LATE[case]
    monkeypatch.chdir(places[0])
    Path("base/codecs").mkdir(parents=True)
    Path("films").mkdir()
    Path("films/a.mp4").touch()
    values = {
        "name": "late",
        "sources": {"clips": {"kind": "synthetic", "clips": 4}},
        "codecs": FITTED,
        "sets": {"train": {"source": "clips", "geometry": "32x32x25@12.5"}},
        "fit_sets": ["train"],
        **sections,
    }
    config = decode_values(PrepareConfig, values, where="test")
    context = RunContext(runs=RUNS, store="", artifacts=None, registry=Path, bar=False, systems=SYSTEMS)
    before = sorted(Path().rglob("*"))
    with pytest.raises(error, match=message):
        make(config, context, recipe_folder=Path())
    assert sorted(Path().rglob("*")) == before


def test_data_in_use_are_refused_with_an_option_that_prepare_has(places: tuple[Path, Path], tmp_path: Path) -> None:
    context = RunContext(runs=tmp_path / "runs", store="", artifacts=None, registry=Path, bar=False, systems=SYSTEMS)
    with (
        locked(data_of(context.runs, recipe("clips"), recipe_folder=places[0])),
        pytest.raises(RunLockedError, match=r"in use by process \d+; wait for it, or choose another --runs$"),
    ):
        prepare_data(recipe("clips"), context, recipe_folder=places[0])


def test_parts_that_several_jobs_make_are_what_one_makes(tmp_path: Path) -> None:
    """Codecs first, then sets in any order; two may be made at once, but none while the whole is being made."""
    made = []
    for runs in (tmp_path / "parts", tmp_path / "whole"):
        context = RunContext(runs=runs, store="", artifacts=None, registry=Path, bar=False, systems=SYSTEMS)
        if runs.name == "parts":
            root = prepare_part(TWO_SETS, context, recipe_folder=tmp_path, number=None)
            assert read_as(PrepareConfig, DATA.read(root / DATA_FILE).recipe, root) == TWO_SETS
            assert not (root / "sets").exists()
            with locked(root, shared=True):
                for number in (1, 0):
                    prepare_part(TWO_SETS, context, recipe_folder=tmp_path, number=number)
            with locked(root), pytest.raises(RunLockedError):
                prepare_part(TWO_SETS, context, recipe_folder=tmp_path, number=0)
            assert not (root / "report.json").exists()
        whole, report = prepare_data(TWO_SETS, context, recipe_folder=tmp_path)
        assert read_as(PrepareConfig, DATA.read(whole / DATA_FILE).recipe, whole) == TWO_SETS
        made.append(report)
    assert [found.reused for found in made[0].sets.values()] == [True, True]
    assert made[0].manifest == made[1].manifest
    with pytest.raises(RecipeError, match="no set 2: the recipe has 2, 0 to 1"):
        prepare_part(TWO_SETS, context, recipe_folder=tmp_path, number=2)


def test_an_attempt_waits_for_its_predecessor_but_not_for_ever(tmp_path: Path) -> None:
    """After the wait, taking the lock raises RunLockedError."""
    with locked(tmp_path):
        began = time.monotonic()
        wait_unlocked(tmp_path, 0.5)
        assert time.monotonic() - began >= 0.5
        with pytest.raises(RunLockedError):
            locked(tmp_path).__enter__()
    began = time.monotonic()
    wait_unlocked(tmp_path, 60.0)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("place", ["base/codecs", "base/release/codecs"])
def test_codecs_of_a_release_a_run_or_a_data_root_are_found(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True)
    context = RunContext(
        runs=tmp_path, store="", artifacts=None, registry=lambda _: tmp_path / "base", bar=False, systems=SYSTEMS
    )
    for spec in ("base", str(tmp_path / "base"), "models:/toy@champion"):
        assert codecs_folder(replace(TWO_SETS, codecs_from=spec), context, tmp_path) == folder
    assert codecs_folder(TWO_SETS, context, tmp_path) is None
    with pytest.raises(DataError, match=r"`codecs_from`: no codecs in .*nowhere"):
        codecs_folder(replace(TWO_SETS, codecs_from="nowhere"), context, tmp_path)


def test_codecs_from_is_part_of_a_folders_name(tmp_path: Path) -> None:
    """By its resolved path, as for the sources."""
    specs = [(None, tmp_path), ("base", tmp_path), ("base", tmp_path / "two"), ("models:/toy@champion", tmp_path)]
    names = [data_of(RUNS, replace(TWO_SETS, codecs_from=spec), recipe_folder=at) for spec, at in specs]
    assert len(set(names)) == 4
    assert data_of(RUNS, replace(TWO_SETS, codecs_from="../base"), recipe_folder=tmp_path / "two") == names[1]
