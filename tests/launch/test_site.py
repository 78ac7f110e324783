"""Site profiles: what they may contain, what is refused by key, and the allocation of a phase."""

import json
from pathlib import Path

import pytest

from talkies.config import RecipeError
from talkies.launch.config import LimitsConfig, SiteConfig, SlurmConfig, seconds_of
from talkies.launch.secrets import refuse_secret_words
from talkies.launch.site import allocation, load_site

LIMITS = {"nodes": 4, "gpus_per_node": 8, "time": "1-00:00:00"}
SITES = sorted((Path(__file__).parents[2] / "recipes" / "sites").glob("*.yaml"))
SITE = SiteConfig(limits=LimitsConfig(nodes=4, gpus_per_node=8, time="1-00:00:00"))


def written(folder: Path, **changed: object) -> Path:
    path = folder / "site.yaml"
    path.write_text(json.dumps({"kind": "site", "limits": LIMITS, **changed}))
    return path


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_the_profiles_of_the_repository_can_be_used(path: Path) -> None:
    assert load_site(path).limits.nodes == 128
    assert path.read_text().startswith("# ")


def test_a_profile_needs_only_its_limits(tmp_path: Path) -> None:
    assert load_site(written(tmp_path)) == SITE


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"partition": "gpu;reboot"}, "`partition` must be letters, digits"),
        ({"account": "a b"}, "`account` must be"),
        ({"qos": "x\n#SBATCH --uid=0"}, "must be one line: it contains a line break"),
        ({"modules": ["cuda", "$(id)"]}, "`modules.1` must be a module"),
        ({"source": ["/etc/x;id"]}, "`source.0` must be a path"),
        ({"runs": "/scratch/my runs"}, "`runs` must be a path"),
        ({"environment": {"A": "one\ntwo"}}, "must be one line: it contains a line break"),
        ({"environment": {"A B": "x"}}, "must be the name of a variable"),
        ({"sbatch": ["--comment x"]}, "`sbatch.0` must be --option"),
        ({"sbatch": ["--mem=1\n#SBATCH --uid=0"]}, "must be one line: it contains a line break"),
        ({"sbatch": ["--uid=0"]}, "`sbatch.0` must be an option that no other key decides"),
        ({"sbatch": ["--nodes=9"]}, "`sbatch.0` must be an option that no other key decides"),
        ({"limits": {**LIMITS, "time": "24h"}}, "`limits.time` must be [DAYS-]HOURS:MINUTES:SECONDS"),
        ({"limits": {**LIMITS, "time": "00:00:00"}}, "`limits.time` must be"),
        ({"limits": {**LIMITS, "time": "00:05:00"}}, "`lead` is 300 s, `limits.time` 00:05:00"),
        ({"container": {"kind": "pyxis", "image": "a b"}}, "`container.image` must be an image"),
        ({"container": {"kind": "pyxis", "image": "a", "mounts": ["x:y"]}}, "`container.mounts.0` must be SOURCE"),
        ({"card": 79}, "`card`"),
        ({"kind": "phase"}, "`kind` is 'phase'"),
        ({"patition": "gpu"}, "Did you mean `partition`?"),
        ({"environment": {"KEY": "${oc.env:AWS_SECRET_ACCESS_KEY}"}}, "no resolver such as oc.env"),
    ],
)
def test_values_that_must_not_enter_a_script_are_refused_by_key(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_site(written(tmp_path, **changed))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"environment": {"HF_TOKEN": "sesame-1"}}, "environment.HF_TOKEN"),
        ({"environment": {"MLFLOW_TRACKING_PASSWORD": "sesame-1"}}, "environment.MLFLOW_TRACKING_PASSWORD"),
        ({"environment": {"AWS_SECRET_ACCESS_KEY": "sesame-1"}}, "environment.AWS_SECRET_ACCESS_KEY"),
        ({"environment": {"OTHER": "hf_sesame1sesame1sesame1"}}, "environment.OTHER"),
        ({"tracking_uri": "https://me:sesame-1@mlflow.example.org"}, "tracking_uri"),
    ],
)
def test_a_credential_is_refused_without_being_shown(tmp_path: Path, changed: dict[str, object], key: str) -> None:
    with pytest.raises(RecipeError, match=rf"`{key}` \(.*site\.yaml:1\) looks like a credential.*`source`") as caught:
        load_site(written(tmp_path, **changed))
    assert "sesame" not in str(caught.value)


def test_the_name_of_an_image_may_have_a_separator_but_no_credential(tmp_path: Path) -> None:
    for kind in ("pyxis", "apptainer"):
        load_site(written(tmp_path, container={"kind": kind, "image": "nvcr.io#nvidia/pytorch:25.01-py3"}))
        with pytest.raises(RecipeError, match=r"`container\.image` .* looks like a credential") as caught:
            load_site(written(tmp_path, container={"kind": kind, "image": "docker://me:sesame@nvcr.io#nvidia/pytorch"}))
        assert "sesame" not in str(caught.value)


def test_a_credential_in_an_override_is_refused_without_being_shown() -> None:
    with pytest.raises(RecipeError, match=r"override `tracking\.uri` looks like a credential") as caught:
        refuse_secret_words(["steps.max=3", "tracking.uri=https://me:sesame-1@host"])
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("slurm", "ranks", "given"),
    [
        (SlurmConfig(), 1, (1, 1)),
        (SlurmConfig(), 8, (1, 8)),
        (SlurmConfig(), 32, (4, 8)),
        (SlurmConfig(nodes=2), 8, (2, 4)),
        (SlurmConfig(gpus_per_node=2), 8, (4, 2)),
        (SlurmConfig(nodes=2, gpus_per_node=3), 6, (2, 3)),
    ],
)
def test_an_allocation_has_as_many_gpus_as_the_layout_ranks(
    slurm: SlurmConfig, ranks: int, given: tuple[int, int]
) -> None:
    found = allocation(SITE, slurm, ranks=ranks, phase="p")
    assert (found.nodes, found.per_node) == given
    assert found.ranks == ranks
    assert (found.time, found.requeue) == ("1-00:00:00", True)


@pytest.mark.parametrize(
    ("slurm", "ranks", "message"),
    [
        (SlurmConfig(), 12, "12 ranks .* 1 nodes x 8 GPUs = 8"),
        (SlurmConfig(nodes=2, gpus_per_node=8), 8, r"8 ranks .* 2 nodes x 8 GPUs = 16.*`slurm\.nodes`"),
        (SlurmConfig(), 64, r"needs 8 nodes, the site gives 4 \(`limits\.nodes`\)"),
        (SlurmConfig(gpus_per_node=16), 16, r"needs 16 gpus per node, the site gives 8"),
        (SlurmConfig(time="2-00:00:00"), 8, r"asks for 2-00:00:00 \(`slurm\.time`\), the site gives 1-00:00:00"),
        (SlurmConfig(time="00:05:00"), 8, r"is signalled 300 s before its end"),
    ],
)
def test_more_than_the_site_gives_is_refused(slurm: SlurmConfig, ranks: int, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        allocation(SITE, slurm, ranks=ranks, phase="p")


def test_times() -> None:
    assert seconds_of("00:01:00") == 60
    assert seconds_of("2-03:04:05") == ((2 * 24 + 3) * 60 + 4) * 60 + 5
