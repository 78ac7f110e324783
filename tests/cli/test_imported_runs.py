"""From an imported folder to clips, a phase, a LoRA, their promotion, and back into a folder."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from made_folders import folder_bytes, mova_folder, wan_folder
from safetensors.torch import load_file
from torch import Tensor

from talkies.checkpoints.release import load_component, read_release, release_sha256
from talkies.cli.main import run
from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.tracking.card_text import parse_card

pytestmark = pytest.mark.timeout(600)
GEOMETRY = "32x32x9@12.5"
Capture = pytest.CaptureFixture[str]


def talkies(*words: object) -> None:
    assert run([str(word) for word in words]) == 0


def refused(capsys: Capture, code: int, *words: object) -> str:
    """The one line on stderr of a command that fails."""
    capsys.readouterr()
    assert run([str(word) for word in words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    return line


@dataclass(frozen=True)
class Imported:
    """A release, the folder that it was imported from, and where runs and data are."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "mova"

    @property
    def release(self) -> Path:
        return self.root / "release"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def data(self) -> Path:
        (found,) = (self.runs / "data").iterdir()
        return found

    def codecs(self) -> dict[str, Any]:
        """The section of a recipe: those of the release."""
        section = json.loads((self.release / "release.json").read_text())["recipe"]["codecs"]
        return {part: {**one, "weights": str(self.release / "codecs" / part)} for part, one in section.items()}

    def recipe(self, name: str, **sections: Any) -> Path:
        """A phase that starts from the release, with the model that release.json states."""
        values = {
            "kind": "phase",
            "name": name,
            "phase": {"kind": "joint"},
            "model": json.loads((self.release / "release.json").read_text())["model"],
            "codecs": self.codecs(),
            "parents": {"base": str(self.release)},
            "precision": "bf16",
            "optimizer": {"lr": {"towers": 1e-3, "bridge": 1e-3}},
            "data": {"shards": "train", "heldout": "heldout", "geometry": GEOMETRY, "root": str(self.data)},
            "steps": {"max": 2, "global_batch": 2, "checkpoint_every": 2},
            "validation": {"every": 2, "clips": 2, "samples": 1, "sampling_steps": 2, "final_clips": 2},
            "sampling": {"steps": 2},
            "compute": {"threads": 1},
            "tracking": {"experiment": "small", "register": name},
        }
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**values, **sections}))
        return path

    def trained(self, name: str, **sections: Any) -> Path:
        """The folder of a run."""
        talkies("train", self.recipe(name, **sections), "--runs", self.runs, "--quiet")
        (found,) = self.runs.glob(f"{name}-*/0001")
        return found


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    made = Imported(tmp_path_factory.mktemp("imported"))
    talkies("import", mova_folder(made.source), "--out", made.release, "--geometry", GEOMETRY)
    return made


@pytest.fixture(scope="module")
def prepared(imported: Imported) -> Imported:
    """With data that its codecs encoded."""
    faces = {"kind": "synthetic", "domain": "faces", "clips": 4, "heldout": 2, "size": 32, "seed": 1}
    sets = {"train": {"source": "faces"}, "heldout": {"source": "faces", "split": "heldout"}}
    values = {
        "kind": "prepare",
        "name": "small",
        "sources": {"faces": faces},
        "codecs": imported.codecs(),
        "sets": {name: {**one, "geometry": GEOMETRY} for name, one in sets.items()},
    }
    (imported.root / "prepare.yaml").write_text(yaml.safe_dump(values))
    talkies("prepare", imported.root / "prepare.yaml", "--runs", imported.runs)
    return imported


@pytest.fixture(scope="module")
def phase(prepared: Imported) -> Path:
    return prepared.trained("small-phase")


@pytest.fixture(scope="module")
def lora(prepared: Imported) -> Path:
    """With a base whose masters are bf16, as its files are."""
    adapted = {"kind": "lora", "rank": 2, "alpha": 2}
    return prepared.trained("small-lora", train=adapted, compute={"threads": 1, "masters": "bf16"})


def sampled(source: object, out: Path, *options: object) -> Tensor:
    """The frames of a clip of two steps, which has sound, too."""
    talkies("sample", source, "--prompt", "a red face speaks", "--steps", 2, "--out", out, *options)
    assert probe(out).audio_seconds == pytest.approx(9 / 12.5, abs=0.1)
    return read_frames(out, frames=9, fps=12.5, height=32, width=32)


def test_an_import_makes_clips_and_offload_changes_none(imported: Imported, tmp_path: Path) -> None:
    whole = sampled(imported.release, tmp_path / "whole.mp4")
    assert torch.equal(whole, sampled(imported.release, tmp_path / "block.mp4", "--offload", "block"))
    assert not torch.equal(whole, sampled(imported.release, tmp_path / "other.mp4", "--seed", 1))


def test_an_import_is_no_run_that_could_be_promoted(imported: Imported, capsys: Capture) -> None:
    line = refused(capsys, 65, "promote", imported.release)
    assert "is a release, not a run" in line
    assert "`parents`, `sample` and `evaluate` take a release by its path" in line


def test_an_import_says_that_it_has_no_data(imported: Imported, tmp_path: Path, capsys: Capture) -> None:
    assert "give --data FOLDER" in refused(capsys, 65, "evaluate", imported.release)
    (tmp_path / "sets" / "faces").mkdir(parents=True)
    line = refused(capsys, 65, "evaluate", imported.release, "--data", tmp_path)
    assert "names no held-out set; give --heldout NAME (one of faces)" in line


@pytest.fixture(scope="module")
def unread(imported: Imported) -> Path:
    """A copy whose weights and codecs are cut off: whoever reads them says so."""
    copy = imported.root / "unread"
    shutil.copytree(imported.release, copy)
    for path in copy.rglob("*.safetensors"):
        os.truncate(path, 9)
    return copy


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a text that is called a picture."""
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--steps 0", "sample: --steps 0: give a value from 1 to 10000"),
        ("--batch 0", "sample: --batch 0: give a value from 1 to 1024"),
        ("--tiles 17", "sample: --tiles 17: wan codecs decode blocks of 8 pixels: give a multiple of 8"),
        ("--geometry 33x32x9@24", "sample: --geometry 33x32x9@24: height 33 does not fit codec wan"),
        ("--negative blur --text-scale 1", "sample: --negative: no evaluation leaves the prompt out"),
        ("--image HERE/nothing.png", "sample: --image: image HERE/nothing.png cannot be read (No such file"),
        ("--image HERE/text.png", "sample: --image: image HERE/text.png is no PNG, JPEG or WebP file"),
        ("--audio HERE/nothing.wav", "HERE/nothing.wav"),
        ("--audio HERE/text.png", "HERE/text.png"),
        ("--audio HERE/text.png --video HERE/text.png", "sample: --audio and --video give everything"),
        ("--image HERE/text.png --video HERE/text.png", "sample: --video has a first frame of its own; drop --image"),
        ("", ".safetensors is truncated"),
    ],
)
def test_what_is_asked_is_checked_before_weights_are_read(
    unread: Path, pictures: Path, words: str, message: str, capsys: Capture
) -> None:
    code = 2 if message.startswith("sample: --") and "--image: " not in message else 65
    line = refused(capsys, code, "sample", unread, "--prompt", "a", *words.replace("HERE", str(pictures)).split())
    assert message.replace("HERE", str(pictures)) in line


def test_an_evaluation_without_data_is_refused_before_weights_are_read(unread: Path, capsys: Capture) -> None:
    assert "give --data FOLDER" in refused(capsys, 65, "evaluate", unread)
    assert "looked for: nowhere" in refused(capsys, 65, "evaluate", unread, "--data", "nowhere")
    line = refused(capsys, 65, "evaluate", unread, "--data", unread)
    assert "names no held-out set; give --heldout NAME" in line
    line = refused(capsys, 65, "evaluate", unread, "--data", unread, "--heldout", "none")
    assert f"{unread}/sets/none" in line


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("sample RELEASE --prompts HERE/file --out HERE/file/a", "Not a directory"),
        ("export RELEASE --layout mova --out HERE/file/a", "Not a directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_weights_are_read(
    unread: Path, tmp_path: Path, words: str, reason: str, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("a prompt")
    line = refused(capsys, 74, *words.replace("RELEASE", str(unread)).replace("HERE", str(tmp_path)).split())
    assert line.startswith(f"talkies: storage: cannot write {tmp_path}/")
    assert reason in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("folder", ["none", "file"])
def test_a_clip_goes_into_a_folder_that_is_there(unread: Path, tmp_path: Path, folder: str, capsys: Capture) -> None:
    (tmp_path / "file").write_text("a prompt")
    line = refused(capsys, 2, "sample", unread, "--prompt", "a", "--out", tmp_path / folder / "a.mp4")
    assert f"there is no folder {tmp_path / folder}: make it, or give another file" in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--layout movie", "--layout 'movie' is not known"),
        ("--layout mova --components audio,vidio_high", "--components 'vidio_high': "),
        ("--layout diffusers", "a diffusers folder has no audio, bridge: choose with --components video_high,"),
        ("--layout mova --merge", "--merge is for an adapter, and "),
        ("--layout mova --shard-size 1GB", "--shard-size: "),
        ("--layout mova", ".safetensors is truncated"),
    ],
)
def test_options_of_an_export_are_checked_before_weights_are_read(
    unread: Path, tmp_path: Path, words: str, message: str, capsys: Capture
) -> None:
    code = 65 if "truncated" in message else 2
    assert message in refused(capsys, code, "export", unread, "--out", tmp_path / "out", *words.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", [("sample", "--prompt", "a"), ("plan", "--sample"), ("evaluate",)])
def test_a_download_and_a_wrong_folder_are_told_apart(
    imported: Imported, tmp_path: Path, verb: tuple[str, ...], capsys: Capture
) -> None:
    line = refused(capsys, 65, verb[0], imported.source, *verb[1:])
    assert f"{imported.source} is a download (layout mova), not a release: make one of it with `talkies import`" in line
    code = 2 if verb[0] == "plan" else 65
    assert "neither a run" in refused(capsys, code, verb[0], tmp_path, *verb[1:])


@pytest.mark.slow
def test_a_plan_of_sampling_takes_the_size_of_the_clips(imported: Imported, capsys: Capture) -> None:
    def planned(*options: object) -> dict[str, Any]:
        capsys.readouterr()
        talkies("plan", imported.release, "--sample", "--json", *options)
        return dict(json.loads(capsys.readouterr().out))

    whole = planned()
    assert whole["evaluations"] == 2
    larger = planned("--geometry", "64x64x17@12.5")
    assert larger["decoding"] > planned("--geometry", "64x64x17@12.5", "--tiles", 32)["decoding"] > 0
    assert larger["latents"] > whole["latents"]
    assert (
        planned("--batch", 2)["activations"] > 1.5 * whole["activations"] == 1.5 * planned("--batch", 1)["activations"]
    )
    for option, value in (("--tiles", "17"), ("--batch", "0"), ("--geometry", "33x32x9@24")):
        line = refused(capsys, 2, "plan", imported.release, "--sample", option, value)
        assert f"plan: {option} {value}: " in line
        assert f"plan: {option} is for sampling: add --sample" in refused(capsys, 2, "plan", "x.yaml", option, value)


def test_a_plan_of_a_release_without_codecs_says_so(tmp_path: Path, capsys: Capture) -> None:
    talkies("import", wan_folder(tmp_path / "wan"), "--out", tmp_path / "release", "--geometry", GEOMETRY)
    capsys.readouterr()
    talkies("plan", tmp_path / "release", "--sample", "--card", 24)
    text = capsys.readouterr().out
    assert "not in the release, so that `sample` refuses it: codecs text, video" in text
    assert "chosen" not in text
    line = refused(capsys, 65, "sample", tmp_path / "release", "--prompt", "a")
    assert "has no text codec" in line


@pytest.mark.slow
def test_a_model_of_other_sizes_says_where_the_right_ones_are(prepared: Imported, capsys: Capture) -> None:
    model = json.loads((prepared.release / "release.json").read_text())["model"]
    wider = {**model, "sizes": {**model["sizes"], "video": {**model["sizes"]["video"], "ffn_dim": 96}}}
    recipe = prepared.recipe("wider", model=wider)
    line = refused(capsys, 65, "train", recipe, "--runs", prepared.runs, "--quiet")
    assert "video.ffn_dim is 80, this recipe's `model.sizes` has 96" in line
    assert "repeat the parent's `model`, which its release.json holds" in line


@pytest.mark.slow
def test_an_import_is_evaluated_on_data_of_its_codecs(prepared: Imported, capsys: Capture) -> None:
    options = ("--data", prepared.data, "--heldout", "heldout", "--clips", 2)
    capsys.readouterr()
    talkies("evaluate", prepared.release, *options)
    found = {name: float(value) for name, value in map(str.split, capsys.readouterr().out.splitlines())}
    for stream in ("video", "audio"):
        assert 0 < found[f"evaluation/heldout/{stream}"] < 100
    talkies("evaluate", prepared.release, *options, "--offload", "block")
    assert found == {name: float(value) for name, value in map(str.split, capsys.readouterr().out.splitlines())}


@pytest.mark.slow
def test_a_phase_goes_on_from_an_import(prepared: Imported, phase: Path) -> None:
    info, base = read_release(phase / "release"), prepared.release
    assert {one["sha256"] for one in info["parents"].values()} == {release_sha256(base)}
    for component in read_release(base)["components"]:
        before, after = load_component(base, component), load_component(phase / "release", component)
        assert before.keys() == after.keys()
        distances = torch.stack([(after[key] - before[key].float()).norm() for key in before])
        sizes = torch.stack([value.float().norm() for value in before.values()])
        assert 0 < distances.norm() < 0.1 * sizes.norm(), f"{component}: two steps from its parent"


@pytest.mark.slow
def test_a_lora_over_an_import_is_merged_into_its_folder(prepared: Imported, lora: Path, tmp_path: Path) -> None:
    talkies("export", lora, "--layout", "mova", "--merge", "--out", tmp_path / "merged")
    assert folder_bytes(tmp_path / "merged").keys() == folder_bytes(prepared.source).keys()
    adapter = load_file(lora / "release" / "adapter" / "adapter_model.safetensors")
    assert any(value.any() for key, value in adapter.items() if ".lora_B." in key)
    talkies("import", tmp_path / "merged", "--out", tmp_path / "again", "--geometry", GEOMETRY)
    for component in read_release(prepared.release)["components"]:
        before, after = load_component(prepared.release, component), load_component(tmp_path / "again", component)
        changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
        adapted = {f"base_model.model.{component}.{key.removesuffix('weight')}lora_B.weight" for key in changed}
        assert adapted <= adapter.keys()
    assert not torch.equal(sampled(lora, tmp_path / "lora.mp4"), sampled(prepared.release, tmp_path / "base.mp4")), (
        "the adapter does something"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["phase", "lora"])
def test_what_began_from_an_import_is_promoted(
    prepared: Imported, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(name)
    talkies("promote", folder)
    (path,) = folder.glob("cards/*/*.md")
    front = parse_card(path.read_text())
    sha256 = release_sha256(prepared.release)
    parents = {one["component"]: (one["name"], one["sha256"], one["step"]) for one in front["talkies"]["parents"]}
    assert parents == dict.fromkeys(("audio", "bridge", "video_high", "video_low"), ("mova", sha256, 0))
    assert front["base_model"] == ["mova"]
    assert front["talkies"]["codecs"] == read_release(prepared.release)["codecs"]
    base = {"name": "mova", "sha256": sha256} if name == "lora" else None
    assert front["talkies"]["base"] == base
    assert "audio, bridge, video_high and video_low of `mova`, step 0" in path.read_text()
    spec = f"models:/small-{name}@champion"
    clip = sampled(spec, tmp_path / "promoted.mp4", "--runs", prepared.runs)
    assert torch.equal(clip, sampled(folder, tmp_path / "run.mp4"))
