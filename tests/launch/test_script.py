"""Job scripts: their content, and that no value in them can become a command or an option."""

import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from talkies.config import RecipeError
from talkies.launch.config import ApptainerConfig, LimitsConfig, PrepareJobConfig, PyxisConfig, SiteConfig
from talkies.launch.script import JobContext, job_name, prepare_script, train_script
from talkies.launch.site import Allocation

SITE = SiteConfig(
    account="lab",
    partition="gpu",
    limits=LimitsConfig(nodes=4, gpus_per_node=8, time="1-00:00:00"),
    modules=("cuda/12.8",),
    source=("/etc/site.sh",),
    environment={"NOTE": 'it\'s $HOME; `id` \\ "x"'},
    sbatch=("--exclusive",),
    prepare=PrepareJobConfig(partition="cpu", cpus=16, gpus=1, array=3),
)
WORK = JobContext(site=SITE, folder=Path("/runs/mova-1/0001"), directory=Path("/work"))
GIVEN = Allocation(nodes=2, per_node=8, time="12:00:00", requeue=True)


def options(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def valid(script: str) -> bool:
    """Whether bash can parse it."""
    return subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_a_phase_requests_its_nodes_and_a_signal_before_its_end() -> None:
    script = train_script(WORK, "p", GIVEN, ["train", "r.yaml"])
    assert valid(script)
    wanted = """--job-name=p --nodes=2 --ntasks-per-node=8 --cpus-per-task=1 --time=12:00:00 --signal=USR1@300
        --open-mode=append --output=/runs/mova-1/0001/slurm/p-%j.out --chdir=/work --export=NIL --account=lab
        --partition=gpu --gpus-per-node=8 --requeue --exclusive"""
    assert options(script) == wanted.split()
    assert "export TALKIES_REQUEUE=1\n" in script
    assert script.splitlines()[-1].startswith("exec srun --export=ALL --kill-on-bad-exit=1 --cpus-per-task=1 ")
    assert "\n\n" not in script
    once = train_script(WORK, "p", replace(GIVEN, requeue=False), ["train", "r.yaml"])
    assert "--no-requeue" in options(once)
    assert "export TALKIES_REQUEUE=0\n" in once


def test_values_reach_the_job_unchanged(tmp_path: Path) -> None:
    """Bash runs the script, with a program instead of srun that prints its arguments."""
    words = ["train", "it's.yaml", "a=[1, 2]", "b=$(touch harm)", "c=`touch harm`", 'd="; touch harm #', "{{time}}", ""]
    job = JobContext(site=replace(SITE, modules=(), source=()), folder=tmp_path, directory=tmp_path)
    script = train_script(job, "p", GIVEN, words)
    fake = tmp_path / "srun"
    fake.write_text('#!/bin/bash\nprintf "%s\\0" "$NOTE" "$@"\n')
    fake.chmod(0o755)
    body = script.replace("exec srun", f"exec {shlex.quote(str(fake))}")
    output = subprocess.run(["bash"], input=body, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    note, *arguments = output.split("\0")[:-1]
    assert note == SITE.environment["NOTE"]
    assert arguments[-len(words) :] == words
    assert not (tmp_path / "harm").exists()


def test_a_preparation_is_an_array_with_a_task_per_set() -> None:
    script = prepare_script(WORK, "d", ["prepare", "r.yaml"], part="sets", sets=10)
    assert valid(script)
    assert {"--array=0-9%3", "--partition=cpu", "--cpus-per-task=16", "--gpus-per-node=1", "--requeue"} <= {
        *options(script)
    }
    assert "--output=/runs/mova-1/0001/slurm/d-%A-%a.out" in options(script)
    assert "--exclusive" not in options(script)
    assert script.rstrip().endswith('prepare r.yaml --part "$SLURM_ARRAY_TASK_ID"')
    codecs, whole = (prepare_script(WORK, "d", ["prepare", "r.yaml"], part=p, sets=10) for p in ("codecs", "whole"))
    assert codecs.rstrip().endswith("--part codecs")
    assert whole.rstrip().endswith("prepare r.yaml")
    assert "--array" not in codecs + whole


def test_processes_run_in_a_container() -> None:
    pyxis = PyxisConfig(image="/i.sqsh", mounts=("/scratch", "/etc/slurm:/etc/slurm:ro"))
    inside = replace(WORK, site=replace(SITE, container=pyxis, python=None))
    script = train_script(inside, "p", GIVEN, ["train"])
    assert "--container-image=/i.sqsh --container-mounts=/scratch,/etc/slurm:/etc/slurm:ro python3 -m talkies" in script
    apptainer = replace(WORK, site=replace(SITE, container=ApptainerConfig(image="/i.sif"), python="/opt/python"))
    assert "apptainer exec --nv /i.sif /opt/python -m talkies.cli.main train" in train_script(
        apptainer, "p", GIVEN, ["train"]
    )


@pytest.mark.parametrize("name", ["x; touch y", "x y", "x\n#SBATCH --uid=0", "x/y", "$(id)", ""])
@pytest.mark.fault("s7", "hostile job name", injected="x; touch y, a newline and #SBATCH --uid=0, $(id)")
def test_a_job_name_with_other_characters_is_refused(name: str, record_outcome: Callable[..., None]) -> None:
    with pytest.raises(RecipeError, match=r"job name .* outside \[A-Za-z0-9\._-\]") as caught:
        job_name(name)
    assert "\n" not in str(caught.value)
    with pytest.raises(RecipeError, match="job name"):
        train_script(WORK, name, GIVEN, ["train"])
    record_outcome("refused in one line")


@pytest.mark.parametrize("path", ["/runs/my runs", "/runs/a;b", "/runs/a\nb", "/runs/%j", "/runs/$HOME"])
def test_a_folder_that_sbatch_would_not_read_as_one_path_is_refused(path: str) -> None:
    for changed in (replace(WORK, folder=Path(path)), replace(WORK, directory=Path(path))):
        with pytest.raises(RecipeError, match="which sbatch would not read as one path"):
            train_script(changed, "p", GIVEN, ["train"])


@pytest.mark.parametrize("word", ["a=b\nc", "a=\r", "a=\x00"])
def test_a_line_break_in_an_override_is_refused(word: str) -> None:
    with pytest.raises(RecipeError, match="a line break or another control character"):
        train_script(WORK, "p", GIVEN, ["train", word])
