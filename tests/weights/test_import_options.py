"""What a user gives `talkies import` wrongly is named as it was given; what the folder lacks is said."""

import json
import re
import shutil
from pathlib import Path

import pytest
from made_folders import diffusers_folder, mova_folder, wan_folder

from talkies.cli.main import run

GEOMETRY = ["--geometry", "32x32x9@24"]


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return wan_folder(tmp_path_factory.mktemp("made") / "wan")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--geometry", "33x32x9@24"], "import: --geometry 33x32x9@24: "),
        (["--geometry", "banana"], "import: `--geometry` is 'banana'; needed HEIGHTx"),
        (["--name", "../../evil"], "import: --name '../../evil' cannot name a release: give up to 100 letters, "),
        (["--name", ""], "import: --name '' cannot name a release"),
        (["--out", "file/x"], "import: --out file/x lies below {here}/file, which is a file: choose another folder"),
        (["--out", "file/x/y"], "import: --out file/x/y lies below {here}/file, which is a file"),
        (["--out", "/proc/x"], "import: --out /proc/x: no folder can be made in /proc ("),
        (["--out", 255 * "a"], "import: --out aa"),
        (["--out", "s3://foo"], "import: argument --out: 's3://foo' is an address: give a folder on this machine"),
        (["--out", ""], "import: argument --out: the path is empty: give a folder"),
    ],
)
def test_a_wrong_option_is_named(
    wan: Path, here: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    Path("file").touch()
    assert run(["import", str(wan), "--out", "out", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("talkies: " + words.format(here=here))
    assert "pace there" not in line
    assert [path.name for path in here.iterdir()] == ["file"]


@pytest.mark.parametrize(("folder", "words"), [("", "the path is empty"), ("s3://foo", "'s3://foo' is an address")])
def test_a_source_that_is_no_folder_here_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, words: str
) -> None:
    assert run(["import", folder, "--out", str(tmp_path / "out")]) == 2
    assert f"import: argument folder: {words}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_whose_name_fits_no_release_needs_a_name(wan: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(wan, tmp_path / "a b")
    assert run(["import", str(folder), "--out", str(tmp_path / "out"), *GEOMETRY]) == 2
    assert run(["import", str(folder), "--out", str(tmp_path / "out"), *GEOMETRY, "--name", "ab"]) == 0


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("video_vae/config.json", {"z_dim": 8}, "its video codec has channels 8, and the networks of .* need 16"),
        ("video_vae/config.json", {"z_dim": "x"}, r"config\.json: `codecs\.video\.channels` must be an integer"),
        (
            "video_vae/config.json",
            {"scale_factor_temporal": 2},
            r"config\.json: `codecs\.video` gives 16 latent",
        ),
        ("audio_vae/config.json", {"latent_dim": 5}, "its audio codec has channels 5, and the networks of .* need 4"),
        ("text_encoder/config.json", {"d_model": 48}, "its text codec has dim 48, and the networks of .* need 32"),
    ],
)
def test_a_codec_of_other_networks_is_named_by_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, change: dict[str, object], words: str
) -> None:
    folder = mova_folder(tmp_path / "mova")
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    capsys.readouterr()  # what making the folder says
    assert run(["import", str(folder), "--out", str(tmp_path / "out"), *GEOMETRY]) == 65
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"talkies: import: {path}")
    assert re.search(words, line)
    assert [found.name for found in tmp_path.iterdir()] == ["mova"]


def test_what_the_folder_lacks_and_the_defaults_are_said(
    wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = diffusers_folder(tmp_path / "bare", codecs=False)
    shutil.rmtree(bare / "scheduler")
    defaults = ["steps 50: no file of the folder says it", "text scale 5: no file"]
    for folder, wanted in (
        (bare, ["video codec: not in the folder, so `sample` needs vae/ there", "shift 5: no file", *defaults]),
        (wan, ["video codec: a wan folder has none", "text codec: a wan", "boundary 0.9: no file", *defaults]),
    ):
        assert run(["import", str(folder), "--out", str(tmp_path / f"of-{folder.name}"), *GEOMETRY]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert all(sum(line.startswith(f"import:   {words}") for line in lines) == 1 for words in wanted)
        assert not any("geometry" in line for line in lines)


def test_what_the_folder_says_is_no_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", str(mova_folder(tmp_path / "mova")), "--out", str(tmp_path / "out"), *GEOMETRY]) == 0
    printed = capsys.readouterr().out
    assert not any(words in printed for words in ("boundary", "shift", "not in the folder", "geometry"))


def test_export_of_a_download_names_the_verb(wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for form in (["--layout", "wan"], ["--consolidate"], ["--adapter", "peft"]):
        assert run(["export", str(wan), *form, "--out", str(out)]) == 65
        assert (
            f"export: {wan} is a download (layout wan), not a release: make one of it with `talkies import`"
            in capsys.readouterr().err
        )
    assert run(["export", str(tmp_path), "--layout", "wan", "--out", str(out)]) == 65
    assert "talkies import" not in capsys.readouterr().err
    assert run(["export", str(wan), "--layout", "wan", "--out", "s3://foo"]) == 2
    assert "'s3://foo' is an address" in capsys.readouterr().err
