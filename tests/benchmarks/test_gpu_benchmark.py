"""benchmarks/gpu.py: the toy on any machine, the plan of the real networks, distinct arms, mistakes."""

import json
from typing import Any

import pytest
import torch
from gpu import FILES, main
from one_sampling import OneSampling, stacked
from one_tower import Bench, Case, cases

from talkies.config.source import load
from talkies.models.systems import SYSTEMS
from talkies.parallel.config import ComputeConfig
from talkies.planning.cost import H100_FLOPS
from talkies.planning.sampling import SETTINGS
from talkies.recipe.config import decode_phase

TOY = ["--device", "cpu", "--preset", "toy", "--rounds", "2", "--warmup", "1"]
EAGER = [*TOY, "--arms", "eager"]


def both(preset: str) -> list[Case]:
    return list(cases(decode_phase(load(FILES[preset]), SYSTEMS), blocks=4, clips=16))


def rows(capsys: pytest.CaptureFixture[str], words: list[str]) -> list[dict[str, Any]]:
    main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert not found["memory_measured"]
    return list(found["rows"])


def test_the_toy_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, [*EAGER, "--cases", "audio", "video", "--peak", "1e12"])
    arms = ["eager", "eager, recomputed"]
    assert [(row["case"], row["arm"]) for row in found] == [(c, arm) for c in ("audio", "video") for arm in arms]
    for row, flops in zip(found, [case.flops for case in both("toy") for _ in arms], strict=True):
        assert len(row["seconds"]) == 2
        assert row["mfu"] == pytest.approx(flops / row["median"] / 1e12)
        assert row["peak"] is row["ratio"] is row["left_out"] is None
    assert found[1]["planned"] < found[0]["planned"]


def test_a_cpu_says_that_memory_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    main([*EAGER, "--cases", "video"])
    table = capsys.readouterr().out
    assert "peak memory is not measured on a CPU" in table
    assert table.count("\nvideo    eager") == 2
    assert "audio" not in table
    assert "sampling" not in table


def test_sampling_has_a_row_for_each_offload(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, [*EAGER, "--cases", "sampling", "--steps", "2"])
    assert [(row["case"], row["arm"]) for row in found] == [("sampling", how) for how in ("none", "component", "block")]
    for row in found:
        assert len(row["seconds"]) == 2
        assert row["median"] > 0
        assert row["mfu"] is row["peak"] is row["ratio"] is row["left_out"] is None
    none, component, block = (row["planned"] for row in found)
    assert none > component > block


def test_sampling_computes_the_same_wherever_weights_are() -> None:
    """Every arm evaluates both experts, with its weights where it says."""
    recipe = stacked(decode_phase(load(FILES["toy"]), SYSTEMS), blocks=1, steps=4)
    calls = []
    for offload in SETTINGS:
        made = OneSampling(recipe, offload, torch.device("cpu"))
        called = list[str]()
        for name in ("video_high", "video_low"):
            made.model.get_submodule(name).head.register_forward_hook(lambda *_, n=name, to=called: to.append(n))
        assert made.step() > 0
        calls.append(called)
    assert {*calls[0]} == {"video_high", "video_low"}
    assert calls[0] == calls[1] == calls[2]


@pytest.mark.gpu
def test_sampling_on_a_gpu_takes_less_memory_the_more_is_offloaded(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--cases", "sampling", "--blocks", "2", "--steps", "2", "--rounds", "1", "--warmup", "1", "--json"])
    found = json.loads(capsys.readouterr().out)["rows"]
    peaks = [row["peak"] for row in found]
    assert peaks == sorted(peaks, reverse=True)
    assert all(0.5 < row["ratio"] < 1.5 for row in found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiled_arms_run(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, [*TOY, "--cases", "audio"])
    assert [row["arm"] for row in found] == ["eager", "eager, recomputed", "compiled", "compiled, recomputed"]
    assert all(len(row["seconds"]) == 2 for row in found)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_arm_computes_as_named(*, checkpointing: bool) -> None:
    """The inside of a block is computed once, or again for the gradient, whatever arm was active before."""
    bench, calls = Bench(both("toy")[0], torch.device("cpu")), list[int]()
    others, own = (bench.arranged(ComputeConfig(checkpointing=arm)) for arm in (not checkpointing, checkpointing))
    for block in bench.model.audio.blocks:
        block.self_attn.register_forward_hook(lambda *_: calls.append(1))
    for forwards in (others, own):
        calls.clear()
        assert bench.step(forwards) > 0
    assert len(calls) == (2 if checkpointing else 1) * bench.case.tower.layers


def test_a_step_of_the_audio_case_trains() -> None:
    bench = Bench(both("toy")[0], torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in bench.parameters.items()}
    bench.step(bench.arranged(ComputeConfig()))
    assert all(not torch.equal(p, before[name]) for name, p in bench.parameters.items() if "norm" not in name)


def test_the_real_networks_are_planned_as_promised() -> None:
    """43,120 and 403 tokens; every arm of the audio tower fits a card of 80 GB, the video stack one of 141."""
    audio, video = both("a14b")
    assert (audio.work().tokens["audio"], video.work().tokens["video"]) == (403, 43120)
    assert (audio.tower.layers, video.tower.layers, video.tower.dim) == (30, 4, 5120)
    assert audio.planned(ComputeConfig()) < 80e9
    assert 78e9 < video.planned(ComputeConfig()) < 141e9
    assert video.planned(ComputeConfig(checkpointing=True)) < 80e9
    assert 1 < video.flops / (0.4 * H100_FLOPS) < 3, "seconds"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cpu"], "preset a14b needs a GPU; --device cpu --preset toy runs anywhere"),
        ([*TOY, "--rounds", "0"], "0 is not a number from 1 to 10000"),
        ([*TOY, "--peak", "nan"], "--peak is nan: give the FLOP/s"),
        ([*TOY, "--arms", "jitted"], "invalid choice: 'jitted'"),
        ([*TOY, "more"], "unrecognized arguments: more"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
