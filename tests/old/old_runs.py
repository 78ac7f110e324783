"""The unfinished runs of commit ba90cf5, and the commands that continue them."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
ARCHIVE = HERE / "ba90cf5.tar.xz"
PROGRAM = HERE / "program.py"
SMALL = [
    "steps.global_batch=2",
    "steps.log_every=1",
    "steps.checkpoint_every=2",
    "validation.every=4",
    "validation.clips=2",
    "validation.samples=1",
    "validation.sampling_steps=2",
    "validation.final_clips=2",
    "sampling.steps=2",
]
LAYOUTS = {
    "alone": [],
    "lora": [],
    "fsdp2": ["parallel={kind: fsdp2, shard: 2}"],
    "zero": ["parallel={kind: deepspeed, shard: 2, stage: 2}"],
}
"""Runs folder -> the layout of the run in it, which was stopped after step 2 of 4."""
TWO = ("fsdp2", "zero")


@dataclass(frozen=True)
class Old:
    """The archive, unpacked in `folder`; `current`: the current version continues it, or that of `sources`."""

    folder: Path
    current: bool
    sources: Path | None = None

    def only(self, pattern: str) -> Path:
        """The one path that matches."""
        (found,) = self.folder.glob(pattern)
        return found

    def relative(self, pattern: str) -> Path:
        """The same path as recipes name it: ba90cf5 hashes parents by their paths."""
        return self.only(pattern).relative_to(self.folder)

    @property
    def parents(self) -> list[str]:
        """The parents of joint training."""
        return [f"parents.{part}={self.relative(f'runs/{part}_pretraining-*/0001')}" for part in ("video", "audio")]

    @property
    def base(self) -> list[str]:
        """The base and the data of the LoRA."""
        low = ["data.shards=low", "data.heldout=low_heldout", "data.geometry=32x32x25@12.5"]
        return [f"parents.base={self.relative('runs/joint_phase1-*/0001')}", *low]

    def recipe(self, name: str) -> str:
        """A recipe of the archive."""
        return str(self.folder / "recipes" / f"{name}.yaml")

    def train(self, name: str, *words: str, runs: str, processes: int = 1) -> None:
        """Train in `processes` processes."""
        fixed = [self.recipe(name), *SMALL, f"data.root={self.relative('runs/data/*')}", *words]
        self.run("train", *fixed, "--runs", runs, "--quiet", processes=processes)

    def resume(self, runs: str) -> Path:
        """Continue the run of a folder; returns its own folder."""
        if not self.current:  # ba90cf5 cannot move a run: its advice is to upload it again
            (self.only(f"{runs}/*/0001") / "run.json").unlink()
        name = "lora" if runs == "lora" else "joint_phase1"
        parents = self.base if runs == "lora" else self.parents
        self.train(name, *parents, "steps.max=4", *LAYOUTS[runs], runs=runs, processes=2 if runs in TWO else 1)
        return self.only(f"{runs}/*/0001")

    def run(self, *words: str, processes: int = 1) -> str:
        """The output of a command."""
        program = str(PROGRAM if self.current else self.folder / "program.py")
        many = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command: Sequence[str] = [sys.executable, *(many if processes > 1 else []), program, *words]
        path = self.sources if self.current else self.folder / "src"
        sources = {} if path is None else {"PYTHONPATH": str(path)}
        run = partial(subprocess.run, check=False, capture_output=True, text=True, cwd=self.folder)
        done = run(command, env={**os.environ, **sources})
        if not self.current and "terminate called without an active exception" in done.stderr:
            done = run(command, env={**os.environ, **sources})  # its copy of program.py ends with the interpreter
        assert done.returncode == 0, f"{words}: {done.stderr}"
        stdout: str = done.stdout
        return stdout


def unpacked(folder: Path, *, current: bool) -> Old:
    """A copy of the archive; its recipes name schema 1 for the current version."""
    folder.mkdir()
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for path in folder.rglob("recipes/*.yaml") if current else ():
        path.write_text(f"schema: 1\n{path.read_text()}")
    return Old(folder, current)
