"""How ba90cf5.tar.xz was made, once: `python tests/old/make.py CHECKOUT`, in a checkout of commit ba90cf5.

A data root, four finished runs, one of them registered, and one run per layout that was stopped after step 2 of 4.
"""

import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from old_runs import ARCHIVE, LAYOUTS, PROGRAM, TWO, Old

PREPARE = """\
kind: prepare
name: old
sources: {faces: {kind: synthetic, domain: faces, clips: 6, heldout: 2, size: 32, seed: 1}}
codecs: {video: {kind: linear_video}, audio: {kind: linear_audio}, text: {kind: bytes}}
fit_sets: [low]
fit_clips: 4
sets:
  low: {source: faces, geometry: 32x32x25@12.5}
  low_heldout: {source: faces, split: heldout, geometry: 32x32x25@12.5}
  voices: {source: faces, geometry: 32x32x25@12.5, modalities: [audio], duration_token: true}
  voices_heldout: {source: faces, split: heldout, geometry: 32x32x25@12.5, modalities: [audio], duration_token: true}
"""


def main(checkout: Path) -> None:
    folder = Path(tempfile.mkdtemp()) / "old"
    shutil.copytree(checkout / "recipes" / "mova" / "toy", folder / "recipes")
    (folder / "src").symlink_to(checkout / "src")  # runs record the commit
    shutil.copy(PROGRAM, folder / "program.py")
    (folder / "recipes" / "prepare.yaml").write_text(PREPARE)
    old = Old(folder, current=False)
    old.run("prepare", "recipes/prepare.yaml", "--runs", "runs")
    for name in ("video_pretraining", "audio_pretraining"):
        old.train(name, "steps.max=1", runs="runs")
    old.train("joint_phase1", *old.parents, "steps.max=1", "tracking.register=old", runs="runs")
    old.run("promote", str(old.only("runs/joint_phase1-*/0001")), "--runs", "runs")
    for runs, layout in LAYOUTS.items():
        name, parents = ("lora", old.base) if runs == "lora" else ("joint_phase1", old.parents)
        words = [*parents, "steps.max=4", *layout, "--stop-at", "2"]
        old.train(name, *words, runs=runs, processes=2 if runs in TWO else 1)
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path.resolve(), path.name, filter=_kept)


def _kept(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Neither caches nor who made it."""
    if "__pycache__" in info.name or ".egg-info" in info.name:
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
