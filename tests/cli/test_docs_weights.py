"""The commands of docs/weights.md, on small weights: those that move files run, the others pass their parsers."""

import shutil
import sys
from pathlib import Path

import pytest
from made_cogvideox import cogvideox_folder
from made_folders import folder_bytes, mova_folder
from made_releases import adapted
from readme import ROOT, commands
from test_readme import WEIGHTS, check_parsed, words_of

sys.path.append(str(Path(__file__).parents[1] / "codecs"))
from small_demucs import checkpoint

from talkies.cli.main import run

MOVED = ("import", "export")


def test_from_a_download_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    mova_folder(Path("weights/MOVA-360p"))
    cogvideox_folder(Path("weights/cogvideox-5b"))
    checkpoint(Path("weights/mvsep-cdx23/97d170e1.th"))
    lora = Path("runs/lora-0123456789ab/0001")
    for command in commands():
        if not command.startswith(WEIGHTS):
            continue
        words = words_of(command)
        if words[0] not in MOVED:
            check_parsed(words)
            continue
        assert run(words) == 0, command
        if words[:2] == ["import", "weights/MOVA-360p"]:
            adapted(lora / "release", Path(words[3]), Path(words[1]))
            shutil.copyfile(lora / "release" / "release.json", lora / "result.json")  # a finished run
    assert folder_bytes(Path("exported/mova-360p")) == folder_bytes(Path("weights/MOVA-360p"))
    assert Path("exported/mine-apart/adapter/transformer/adapter_config.json").is_file()
