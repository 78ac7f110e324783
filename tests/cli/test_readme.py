"""Every command and every YAML of README and docs works: verbatim if this machine can run it, else through its parser.

The commands run in a folder with `recipes/` and the `runs/` of one tiny curriculum. BOUND and SHORT replace
placeholders; `-...` in a path is the one folder that matches. EXTRA makes a command short.
"""

import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from given_sounds import sound_file
from mtv_run import track_file
from PIL import Image
from readme import ROOT, blocks, commands, inline
from speaking import recorded, voice
from torch.distributed.run import get_args_parser
from toy_run import SMALL, TINY, ToyRun, copy_runs

from talkies.cli.main import VERBS, _Parser, run
from talkies.codecs.demix_config import check_demixer, demixers
from talkies.config.decode import decode, decode_values
from talkies.config.source import load, unresolved
from talkies.launch.site import load_site
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig, SyntheticSource
from talkies.prepare.plan import plan
from talkies.recipe.check import check
from talkies.recipe.config import decode_phase
from talkies.recipe.curriculum import load_curriculum
from talkies.world.render import render_source

pytestmark = pytest.mark.timeout(600)
BOUND = {"/data/clips": "clips"}
SHORT = {
    "RECIPE": "recipes/mova/toy/audio_pretraining.yaml",
    "SITE": "recipes/sites/example.yaml",
    "RUN": "runs/mova-toy-.../0001/3-joint_phase1",
    "RUN|JOB": "runs/mova-toy-.../0001/3-joint_phase1",
    "[RUN|JOB]": "runs/mova-toy-.../0001/3-joint_phase1",
    "FOLDER": "exported",
}
MINE = ["steps.max=2", "steps.global_batch=2", "steps.checkpoint_every=2", "validation.sampling_steps=1",
        "sampling.steps=2"]  # fmt: skip
EXTRA = {
    "talkies train recipes/mova/toy/joint_phase1.yaml": TINY,
    "talkies show": [],
    "talkies sample": [],
    "talkies prepare mine.yaml": [],
    "talkies train mine-lora.yaml": MINE,
    "talkies evaluate": [],
    "talkies promote": [],
    "talkies export": [],
    "talkies submit": ["--dry-run"],
}
"""Commands that run here, by their beginning."""
PARSED = ("talkies train RECIPE parallel", "talkies status", "talkies cancel", "torchrun")
"""Commands that need a cluster or several processes."""
SPEAKERS = ("talkies sample models:/mirage-toy@", "talkies evaluate runs/mirage-toy-")
"""Commands after the toy curriculum of Mirage video, of the stage `slow`."""
PERFORMERS = ("talkies sample models:/mirage-audio-toy@", "talkies evaluate runs/mirage-audio-toy-", "talkies perform")
"""Commands after those of Mirage video and Mirage audio."""
STEERED = ("talkies sample models:/mtv-toy@", "talkies evaluate runs/mtv-toy-")
"""Commands after the toy curriculum of MTV."""
WEIGHTS = (
    "talkies import ", "talkies export releases/", "talkies export runs/lora-", "talkies sample releases/",
    "talkies plan releases/", "talkies plan recipes/mova/lora.yaml ", "talkies train recipes/mova/lora.yaml ",
)  # fmt: skip
"""Commands of docs/weights.md: test_docs_weights.py."""
FULL_SCALE = (
    "talkies prepare recipes/mtv/",
    "talkies train recipes/mtv/curriculum.yaml",
    "talkies sample models:/mtv-visual-mood@",
)
"""Commands of docs/mtv.md, which no machine here can run: their recipes decode, their options parse."""
VOICES = ("talkies sample voices/",)
"""Commands of a model that speaks: test_sample_voice.py."""
APART = (*SPEAKERS, *PERFORMERS, *STEERED, *WEIGHTS, *FULL_SCALE, *VOICES)
LONG = ("talkies train recipes/mova/toy/curriculum.yaml",)
"""Commands of the stage `slow`; without overrides this is command 1, which every test of this folder is built on."""
SETUP = re.compile(r"python3\.11 -m venv|\.venv/bin/(pip install|python -m pytest|talkies train|zensical build)")
PHASE, VOICES_PHASE = "recipes/mova/joint_phase2.yaml", "recipes/mirage_audio/cloning.yaml"
"""The recipe that completes a block with only a part of a phase recipe; one with the codecs of Mirage audio."""


@pytest.fixture(scope="module")
def project(toy_run: ToyRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a newcomer after command 1, with clips of their own, as the working directory."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    copy_runs(toy_run, folder / "runs")
    source = SyntheticSource(domain="masks", clips=12, size=64, frames=49, fps=24.0)
    render_source(source, folder / "clips", 0, None)
    Image.new("RGB", (96, 64), (200, 30, 60)).save(folder / "first.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, text in files().items():
            Path(name).write_text(bound_text(text))
        yield folder


def files() -> dict[str, str]:
    """The blocks of YAML and of text whose first line names their file: name -> text."""
    named = {block: re.match(r"# ([\w-]+\.(?:yaml|txt))\b", block) for block in (*blocks("yaml"), *blocks("text"))}
    return {found[1]: block for block, found in named.items() if found is not None}


def bound(word: str) -> str:
    """A word with its placeholders replaced."""
    word = SHORT.get(word, word)
    for placeholder, value in BOUND.items():
        word = word.replace(placeholder, value)
    return re.sub(r"runs/[^\s,{}=]*-\.\.\.[^\s,{}=]*", lambda found: _only(found[0]), word)


def _only(pattern: str) -> str:
    (found,) = Path().glob(pattern.replace("-...", "-*"))
    return str(found)


def bound_text(text: str) -> str:
    """A file with the placeholders of its words replaced."""
    return re.sub(r"[^ \n]+", lambda word: bound(word[0]), text)


def phase_at(path: Path) -> None:
    """Check that a whole phase recipe decodes, and that its sections agree."""
    check(decode_phase(load(path), SYSTEMS))


def part_of_preparation(values: dict[str, Any]) -> None:
    """Check that sections of a preparation with a demixer decode, and that its rules can be followed."""
    whole = {"kind": "prepare", "name": "part", "sources": {}, **values}
    made = decode_values(PrepareConfig, whole, where="block")
    for name, demixer in demixers(made.codecs).items():
        check_demixer(demixer, f"codecs.{name}")


READ: dict[str, Callable[[Path], object]] = {
    "phase": phase_at,
    "curriculum": partial(load_curriculum, systems=SYSTEMS),
    "prepare": lambda path: plan(decode(PrepareConfig, load(path)), SYSTEMS),
    "site": load_site,
}
"""`kind` of a file -> the function that reads it, or refuses it if it is wrong."""
READS = {"prepare": "prepare", "train": "curriculum"}
"""Verb -> the `kind` of what commands of full scale give it."""


def words_of(command: str) -> list[str]:
    """The words of a command after `talkies`, bound."""
    return [bound(word) for word in shlex.split(command)[1:] if word != "..."]


def parser_of(verb: str) -> _Parser:
    parser = _Parser(prog=f"talkies {verb}", allow_abbrev=False)
    importlib.import_module(VERBS[verb][0]).add_arguments(parser)
    return parser


def check_parsed(words: list[str]) -> None:
    """Check that the verb accepts these arguments, and that a recipe to train decodes with its overrides."""
    parsed = parser_of(words[0]).parse_intermixed_args(words[1:])
    if words[0] == "train":
        check(decode_phase(load(Path(parsed.recipe), parsed.overrides), SYSTEMS))


def test_every_command_belongs_to_one_kind() -> None:
    for command in commands():
        kinds = [begin for begin in (*EXTRA, *PARSED, *LONG) if command.startswith(begin)]
        kinds = ["apart"] if command.startswith(APART) else kinds
        kinds += (SETUP.match(command) is not None and ["setup"]) or []
        assert len(kinds) == 1, f"{command}: {kinds}: name it in this test's tables"
    assert all(any(command.startswith(begin) for command in commands()) for begin in (*EXTRA, *PARSED, *APART, *LONG))


def test_commands_that_this_machine_can_run_end_well(project: Path) -> None:
    for command in commands():
        extra = [words for begin, words in EXTRA.items() if command.startswith(begin)]
        if extra and not command.startswith(APART):
            words = [*words_of(command), *extra[0]]
            assert run([*dict.fromkeys(words)]) == 0, command
            assert all(Path(words[i + 1]).exists() for i, word in enumerate(words) if word == "--out"), command


def test_commands_of_a_cluster_pass_their_parsers(project: Path) -> None:
    for command in commands():
        if command.startswith("torchrun"):
            launched = get_args_parser().parse_args(words_of(command))
            assert (launched.module, launched.training_script) == (True, "talkies.cli.main")
            check_parsed(launched.training_script_args)
        elif command.startswith(PARSED):
            check_parsed(words_of(command))


@pytest.mark.slow
def test_commands_after_mirages_curriculum_end_well(
    mirage_run: ToyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy_runs(mirage_run, Path("runs"))
    sound_file(tmp_path / "voice.wav", seconds=2.0, beep=0.5)
    Image.new("RGB", (96, 64), (200, 30, 60)).save("face.png")
    for command in commands():
        if command.startswith(SPEAKERS):
            extra = ["--clips", "2"] if command.startswith("talkies evaluate") else ["--steps", "2"]
            assert run([*words_of(command), *extra]) == 0, command


@pytest.mark.slow
def test_commands_after_mtvs_curriculum_end_well(
    mtv_run: ToyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy_runs(mtv_run, Path("runs"))
    sound_file(Path("scene.wav"), seconds=2.0, beep=0.5)
    track_file(Path(), "speech").rename("voice.wav")
    track_file(Path(), "music").rename("song.wav")
    for command in commands():
        if command.startswith(STEERED):
            extra = ["--clips", "2"] if command.startswith("talkies evaluate") else ["--steps", "2"]
            assert run([*words_of(command), *extra]) == 0, command


@pytest.mark.slow
def test_commands_after_both_curricula_of_mirage_end_well(
    mirage_run: ToyRun, voices_run: ToyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one folder of runs, as a user has them; its registry is that of Mirage audio."""
    monkeypatch.chdir(tmp_path)
    for made in (mirage_run, voices_run):
        copy_runs(made, Path("runs"))
    (line,) = [block for block in blocks("text") if block.startswith("[S1] so ba")]
    Path("line.txt").write_text(line)
    recorded(Path("voice.wav"), voice(2.0))
    Image.new("RGB", (96, 64), (200, 30, 60)).save("face.png")
    for command in commands():
        if command.startswith(PERFORMERS):
            extra = ["--clips", "2"] if command.startswith("talkies evaluate") else []
            assert run([*words_of(command), *extra]) == 0, command
    takes = [f"take-{number}.wav" for number in (1, 2, 3)]
    assert sorted(path.name for path in Path("performance").iterdir()) == ["clips.json", "film-2.mp4", *takes]


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in commands() if command.startswith(LONG)])
def test_a_curriculum_with_overrides_is_trained(tmp_path: Path, command: str) -> None:
    recipe, *overrides = [re.sub(r"steps\.max=\d+", "steps.max=4", word) for word in words_of(command)[1:]]
    words = ["train", str(ROOT / recipe), *SMALL, *overrides, "--runs", str(tmp_path), "--quiet"]
    assert run(words) == 0


def test_commands_of_full_scale_pass_their_parsers(project: Path) -> None:
    for command in commands():
        if command.startswith(FULL_SCALE):
            words = words_of(command)
            parser_of(words[0]).parse_intermixed_args(words[1:])
            if words[0] in READS:
                READ[READS[words[0]]](Path(words[1]))


def test_setup_is_what_ci_does() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    setup = [command for command in commands() if SETUP.match(command)]
    assert "python3.11 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e '.[test]' && " in script
    assert {re.sub(r"'\.\[(test|docs)\]'", ".", command) for command in setup if "pip" in command} == {
        ".venv/bin/pip install -q -c constraints.txt -e ."
    }
    assert ".venv/bin/talkies train recipes/mova/toy/curriculum.yaml" in setup
    documentation = [command for command in setup if "docs" in command or "zensical" in command]
    assert len(documentation) == 2
    assert " && ".join(documentation) in script
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name for piece in inline("pip install") for name in re.findall(r"\.\[(\w+)\]", piece)} <= set(extras)
    assert all(f"-m {stage}" in script for stage in ("slurm", "faults", '"ranks or slow"'))


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.partition("\n")[0])
def test_every_yaml_is_a_recipe_a_site_or_a_part_of_one(project: Path, block: str) -> None:
    values = yaml.safe_load(block)
    path = Path(next((name for name, text in files().items() if text == block), "block.yaml"))
    if "kind" in values or "extends" in values:
        path.write_text(bound_text(block))
        READ[str(unresolved(path).values["kind"])](path)
        return
    if "demix" in values.get("codecs", {}):
        part_of_preparation(values)
        return
    commented = [yaml.safe_load(line[2:]) for line in block.splitlines() if re.match(r"# \w+: [{\[]", line)]
    for part in (values, *({**values, **other} for other in commented)):
        overrides = [f"{key}={json.dumps(value)}" for key, value in part.items()]
        base = VOICES_PHASE if "sound" in part.get("codecs", {}) else PHASE
        check(decode_phase(load(Path(base), overrides), SYSTEMS))


@pytest.mark.parametrize("piece", sorted(set(inline("talkies "))))
def test_a_command_within_a_line_names_a_verb_and_its_flags(piece: str) -> None:
    for verb, rest in re.findall(r"talkies ([a-z]+)\b([^`]*)", piece):
        flags = parser_of(verb)._option_string_actions
        assert set(re.findall(r"--[a-z-]+", rest)) <= set(flags)


@pytest.mark.parametrize("piece", sorted(set(inline("benchmarks/"))))
def test_a_benchmark_within_a_line_exists_with_its_flags(piece: str) -> None:
    (name,) = re.findall(r"benchmarks/\w+\.py", piece)
    source = (ROOT / name).read_text()
    assert all(f'"{flag}"' in source for flag in re.findall(r"--[a-z-]+", piece.split(name)[1]))
