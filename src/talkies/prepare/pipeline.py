"""`talkies prepare`: sources -> codecs -> shard sets -> report."""

import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from talkies.codecs.demix_config import DemixerConfig
from talkies.codecs.demix_config import demixers as demixers_of
from talkies.codecs.identity import config_values
from talkies.codecs.load import load_codecs, load_demixer
from talkies.config import StorageError
from talkies.config.canonical import recipe_hash
from talkies.config.plain_json import json_sha256
from talkies.data.clip import Header
from talkies.files.durable import write_text
from talkies.prepare.bars import Bars, bars
from talkies.prepare.building import Builder
from talkies.prepare.config import PrepareConfig
from talkies.prepare.copies import resolve_copies
from talkies.prepare.fitting import fit_codecs, take_codecs
from talkies.prepare.hashes import Hashes, contents
from talkies.prepare.jobs import NOTHING_IN_USE, InUse, SetJob
from talkies.prepare.plan import SetPlan, plan
from talkies.prepare.reading import Reader
from talkies.prepare.report import Report, SetReport
from talkies.prepare.sources import MediaSource, collect
from talkies.prepare.track_plan import beside
from talkies.streams.batch import Text
from talkies.streams.codec import Codecs, Demixer
from talkies.streams.system import System
from talkies.world.config import SyntheticSource

__all__ = ["Report", "prepare"]
REPORT = "report.json"
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)


def prepare(
    config: PrepareConfig,
    root: Path,
    *,
    systems: Sequence[System],
    recipe_folder: Path,
    progress: bool,
    codecs: Path | None = None,
    in_use: InUse = NOTHING_IN_USE,
) -> Report:
    """Make everything that a prepare recipe asks for below `root`, and root/report.json last. Shards store what the
    recipe's system, one of `systems`, asks for.

    root/codecs holds the fitted codecs, root/sets/NAME the shard sets, root/sources the rendered media; none of them
    depends on the location of `root`. Existing results of the same files, settings and codecs are reused. Paths in the
    recipe are relative to `recipe_folder`; `codecs` is the folder of the codecs that `codecs_from` names; data that
    runs have `in_use` is kept, even from an older version. Raises RecipeError (before any work) for what cannot be
    made, DataError for media that cannot be used, StorageError if the disk is full or not writable.
    """
    plans = plan(config, systems)
    with _storage(root):
        (root / REPORT).unlink(missing_ok=True)
        results = _make(
            config,
            plans,
            root,
            recipe_folder=recipe_folder,
            codecs=codecs,
            progress=progress,
            names=tuple(plans),
            in_use=in_use,
        )
        return _finish(config, root, *results)


def prepare_sets(
    config: PrepareConfig,
    root: Path,
    *,
    systems: Sequence[System],
    recipe_folder: Path,
    progress: bool,
    names: Sequence[str],
    codecs: Path | None = None,
    in_use: InUse = NOTHING_IN_USE,
) -> None:
    """As `prepare`, but only the shared parts and the sets `names`, and without a report. After a call without names,
    several processes may make different sets at once."""
    plans = plan(config, systems)
    with _storage(root):
        _make(
            config,
            plans,
            root,
            recipe_folder=recipe_folder,
            codecs=codecs,
            progress=progress,
            names=names,
            in_use=in_use,
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


def _make(
    config: PrepareConfig,
    plans: Mapping[str, SetPlan],
    root: Path,
    *,
    recipe_folder: Path,
    codecs: Path | None,
    progress: bool,
    names: Sequence[str],
    in_use: InUse,
) -> tuple[dict[str, str], dict[str, SetReport], dict[str, MediaSource]]:
    """Make sources, codecs and the sets `names`; returns the codecs' identities, the reports and the sources."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    demixers = _open_demixers(plans, device)
    (root / "sources").mkdir(parents=True, exist_ok=True)
    with bars(progress) as bar:
        sources = _sources(config, plans, root / "sources", recipe_folder, bar)
        hashes = {name: Hashes(root / "sources" / f"{name}.files.json") for name in sources}
        window = min((set_plan.geometry for set_plan in plans.values()), key=lambda geometry: geometry.seconds)
        sources = resolve_copies(sources, config, hashes, window)
        jobs = _jobs(plans, sources, hashes)
        reader = Reader(demixers=demixers, device=device)
        if config.codecs_from is None:
            fit_codecs(config, jobs, root / "codecs", reader, bar, in_use=in_use.codecs, device=device)
        else:
            assert codecs is not None, "the caller resolves `codecs_from`"
            take_codecs(config, codecs, root / "codecs")
        opened, identities = _open_codecs(config, plans, root / "codecs", device)
        identities |= {name: demixers[f"codecs.{name}"].identity for name in demixers_of(config.codecs)}
        nulls = {name: codec.encode([""]).to("cpu") for name, codec in opened.text.items()}
        builder = Builder(
            codecs=opened,
            reader=reader,
            bars=bar,
            device=device,
            shard_clips=config.shard_clips,
            quarantine_max=config.quarantine_max,
            in_use=in_use,
        )
        sets = {
            name: builder.build(job, _header(config, job.plan, identities, nulls), root / "sets" / name)
            for name, job in jobs.items()
            if name in names
        }
    return identities, sets, sources


def _header(
    config: PrepareConfig, set_plan: SetPlan, identities: Mapping[str, str], nulls: Mapping[str, Text]
) -> Header:
    made_by = {name: stream.codec for name, stream in set_plan.streams.items()} | dict(set_plan.texts)
    making = {*made_by.values(), *(demixers_of(config.codecs) if set_plan.tracks is not None else ())}
    used = [name for name in config.codecs if name in making]
    return Header(
        name=set_plan.name,
        split=set_plan.config.split,
        geometry=str(set_plan.geometry),
        fps=set_plan.geometry.fps,
        codecs={name: identities[name] for name in used},
        codec_configs={name: config_values(config.codecs[name]) for name in used},
        made_by=made_by,
        null_texts={name: nulls[codec] for name, codec in set_plan.texts.items()},
    )


def _open_demixers(plans: Mapping[str, SetPlan], device: torch.device) -> dict[str, Demixer]:
    """Every demixer of the sets, by the key of its section. RecipeError and DataError as of `load_codecs`."""
    sections: dict[str, DemixerConfig] = {}
    for one in plans.values():
        sections |= {} if one.tracks is None else one.tracks.sections
    return {key: load_demixer(section, key=key, device=device) for key, section in sections.items()}


def _sources(
    config: PrepareConfig, plans: Mapping[str, SetPlan], folder: Path, recipe_folder: Path, bar: Bars
) -> dict[str, MediaSource]:
    """Every source of the recipe, with its items."""
    sources = {}
    looked_for = beside(config, {name: one.tracks for name, one in plans.items()})
    for name, section in config.sources.items():
        rendering = bar(f"render {name}", section.clips) if isinstance(section, SyntheticSource) else None
        sources[name] = collect(
            name,
            section,
            recipe_folder=recipe_folder,
            rendered=folder / name,
            seed=config.seed,
            beside=looked_for[name],
            progress=rendering,
        )
    return sources


def _jobs(
    plans: Mapping[str, SetPlan], sources: Mapping[str, MediaSource], hashes: Mapping[str, Hashes]
) -> dict[str, SetJob]:
    jobs = {}
    for name, set_plan in plans.items():
        ends = () if set_plan.tracks is None else set_plan.tracks.stems
        found = sources[set_plan.config.source].split(set_plan.config.split)
        items = [replace(item, stems={end: item.stems[end] for end in ends}) for item in found]
        jobs[name] = SetJob(plan=set_plan, items=items, content=contents(items, hashes[set_plan.config.source]))
    for cache in hashes.values():
        cache.save()
    return jobs


def _open_codecs(
    config: PrepareConfig, plans: Mapping[str, SetPlan], folder: Path, device: torch.device
) -> tuple[Codecs, dict[str, str]]:
    """The codecs as a phase will load them, and their identities."""
    used = {stream.codec for one in plans.values() for stream in one.streams.values()}
    used |= {codec for one in plans.values() for codec in one.texts.values()}
    codecs = load_codecs(config.codecs, folder, names=used, device=device)
    return codecs, codecs.identities


def _finish(
    config: PrepareConfig,
    root: Path,
    identities: Mapping[str, str],
    sets: Mapping[str, SetReport],
    sources: Mapping[str, MediaSource],
) -> Report:
    report = Report(
        recipe=recipe_hash(config),
        manifest=json_sha256(
            {"codecs": dict(identities), "sets": {name: found.fingerprint for name, found in sets.items()}}
        ),
        codecs=identities,
        sets=sets,
        ignored={name: source.ignored for name, source in sources.items() if source.ignored},
        copies={name: source.copies for name, source in sources.items() if source.copies},
    )
    write_text(root / REPORT, json.dumps(report.to_json(), indent=2, sort_keys=True) + "\n")
    return report
