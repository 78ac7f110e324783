"""`talkies prepare`: sources -> codecs -> shard sets -> report."""

import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from talkies.codecs.identity import config_values
from talkies.codecs.load import load_codecs
from talkies.config import StorageError
from talkies.config.canonical import recipe_hash
from talkies.data.clip import Header
from talkies.files.durable import write_text
from talkies.prepare.bars import Bars, bars
from talkies.prepare.building import Builder
from talkies.prepare.config import PrepareConfig
from talkies.prepare.copies import settle_copies
from talkies.prepare.fitting import fit_codecs, take_codecs
from talkies.prepare.hashes import Hashes, contents, fingerprint
from talkies.prepare.jobs import NOTHING, Begun, Job
from talkies.prepare.plan import SetPlan, plan
from talkies.prepare.reading import Reader
from talkies.prepare.report import Report, SetReport
from talkies.prepare.sources import MediaSource, collect
from talkies.streams import MODALITIES
from talkies.streams.batch import Text
from talkies.streams.codec import Codecs
from talkies.world.config import SyntheticSource

__all__ = ["Report", "prepare"]
REPORT = "report.json"
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)


def prepare(
    config: PrepareConfig,
    root: Path,
    *,
    recipe_folder: Path,
    progress: bool,
    codecs: Path | None = None,
    begun: Begun = NOTHING,
) -> Report:
    """Make everything that a prepare recipe asks for below `root`, and root/report.json last.

    root/codecs holds the fitted codecs, root/sets/NAME the shard sets, root/sources what was rendered; nothing in them
    depends on where `root` lies. What was made before from the same files, settings and codecs is reused. Paths in the
    recipe are relative to `recipe_folder`; `codecs` is the folder of those that `codecs_from` names; what runs have
    `begun` with stays, though an older version has made it. Raises RecipeError
    (before any work) for what cannot be made, DataError for media that cannot be used, StorageError where the disk
    refuses.
    """
    plans = plan(config)
    with _storage(root):
        (root / REPORT).unlink(missing_ok=True)
        made = _made(
            config,
            plans,
            root,
            recipe_folder=recipe_folder,
            codecs=codecs,
            progress=progress,
            names=tuple(plans),
            begun=begun,
        )
        return _finish(config, root, *made)


def prepare_sets(
    config: PrepareConfig,
    root: Path,
    *,
    recipe_folder: Path,
    progress: bool,
    names: Sequence[str],
    codecs: Path | None = None,
    begun: Begun = NOTHING,
) -> None:
    """As `prepare`, but only what all sets share and the sets `names`, and without a report. Once that is made with no
    names, different sets may be made by several processes at once."""
    plans = plan(config)
    with _storage(root):
        _made(
            config,
            plans,
            root,
            recipe_folder=recipe_folder,
            codecs=codecs,
            progress=progress,
            names=names,
            begun=begun,
        )


@contextmanager
def _storage(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        raise StorageError(
            f"prepare: cannot write to {root}: {error.strerror} ({error.filename}); free space there or choose another "
            "folder"
        ) from error


def _made(
    config: PrepareConfig,
    plans: Mapping[str, SetPlan],
    root: Path,
    *,
    recipe_folder: Path,
    codecs: Path | None,
    progress: bool,
    names: Sequence[str],
    begun: Begun,
) -> tuple[dict[str, str], dict[str, SetReport], dict[str, MediaSource]]:
    """Sources, codecs and the sets `names`: the codecs' identities, and the reports."""
    (root / "sources").mkdir(parents=True, exist_ok=True)
    with bars(progress) as bar:
        sources = _sources(config, root / "sources", recipe_folder, bar)
        hashes = {name: Hashes(root / "sources" / f"{name}.files.json") for name in sources}
        window = min((made.geometry for made in plans.values()), key=lambda geometry: geometry.seconds)
        sources = settle_copies(sources, config, hashes, window)
        jobs = _jobs(plans, sources, hashes)
        reader = Reader()
        if config.codecs_from is None:
            fit_codecs(config, jobs, root / "codecs", reader, bar, begun=begun.codecs)
        else:
            assert codecs is not None, "who calls has looked up `codecs_from`"
            take_codecs(config, codecs, root / "codecs")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        opened, identities = _open_codecs(config, root / "codecs", device)
        null = opened.text.encode([""]).to("cpu")
        builder = Builder(
            codecs=opened,
            reader=reader,
            bars=bar,
            device=device,
            shard_clips=config.shard_clips,
            quarantine_max=config.quarantine_max,
            begun=begun,
        )
        sets = {
            name: builder.build(job, _header(config, job.plan, identities, null), root / "sets" / name)
            for name, job in jobs.items()
            if name in names
        }
    return identities, sets, sources


def _header(config: PrepareConfig, made: SetPlan, identities: Mapping[str, str], null: Text) -> Header:
    parts = (*made.config.modalities, "text")
    return Header(
        name=made.name,
        split=made.config.split,
        geometry=str(made.geometry),
        fps=made.geometry.fps,
        codecs={part: identities[part] for part in parts},
        codec_configs={part: config_values(getattr(config.codecs, part)) for part in parts},
        null_text=null,
        mask_channels=config.codecs.video.stride,
    )


def _sources(config: PrepareConfig, folder: Path, recipe_folder: Path, bar: Bars) -> dict[str, MediaSource]:
    """Every source that a set is made from."""
    found = {}
    for name, section in config.sources.items():
        rendering = bar(f"render {name}", section.clips) if isinstance(section, SyntheticSource) else None
        found[name] = collect(
            name,
            section,
            recipe_folder=recipe_folder,
            rendered=folder / name,
            seed=config.seed,
            progress=rendering,
        )
    return found


def _jobs(
    plans: Mapping[str, SetPlan], sources: Mapping[str, MediaSource], hashes: Mapping[str, Hashes]
) -> dict[str, Job]:
    jobs = {}
    for name, made in plans.items():
        items = sources[made.config.source].split(made.config.split)
        jobs[name] = Job(plan=made, items=items, content=contents(items, hashes[made.config.source]))
    for known in hashes.values():
        known.save()
    return jobs


def _open_codecs(config: PrepareConfig, folder: Path, device: torch.device) -> tuple[Codecs, dict[str, str]]:
    """The codecs as a phase will load them, and their identities."""
    wanted = [m for m in MODALITIES if any(m in section.modalities for section in config.sets.values())]
    codecs = load_codecs(config.codecs, folder, modalities=wanted, device=device)
    found = {"video": codecs.video, "audio": codecs.audio, "text": codecs.text}
    return codecs, {part: codec.identity for part, codec in found.items() if codec is not None}


def _finish(
    config: PrepareConfig,
    root: Path,
    identities: Mapping[str, str],
    sets: Mapping[str, SetReport],
    sources: Mapping[str, MediaSource],
) -> Report:
    report = Report(
        recipe=recipe_hash(config),
        manifest=fingerprint(
            {"codecs": dict(identities), "sets": {name: found.fingerprint for name, found in sets.items()}}
        ),
        codecs=identities,
        sets=sets,
        ignored={name: source.ignored for name, source in sources.items() if source.ignored},
        copies={name: source.copies for name, source in sources.items() if source.copies},
    )
    write_text(root / REPORT, json.dumps(report.to_json(), indent=2, sort_keys=True) + "\n")
    return report
