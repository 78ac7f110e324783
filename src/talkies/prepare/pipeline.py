"""`talkies prepare`: sources -> codecs -> shard sets -> report."""

import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from talkies.codecs.demix_config import demixers as demixers_of
from talkies.codecs.identity import config_values
from talkies.codecs.load import load_codecs
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
from talkies.prepare.inputs import Inputs, open_inputs, used_codecs
from talkies.prepare.jobs import NOTHING_IN_USE, InUse, SetJob
from talkies.prepare.plan import SetPlan, plan
from talkies.prepare.reading import Reader
from talkies.prepare.report import Report, SetReport
from talkies.prepare.sources import MediaSource, collect
from talkies.streams.batch import Text
from talkies.streams.codec import Codecs
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
    before_writing: Callable[[], object] | None = None,
) -> Report:
    """Make everything that a prepare recipe asks for below `root`, and root/report.json last. Shards store what the
    recipe's system, one of `systems`, asks for.

    root/codecs holds the fitted codecs, root/sets/NAME the shard sets, root/sources the rendered media; none of them
    depends on the location of `root`. Existing results of the same files, settings and codecs are reused. Paths in the
    recipe are relative to `recipe_folder`; `codecs` is the folder of the codecs that `codecs_from` names; data that
    runs have `in_use` is kept, even from an older version. Raises RecipeError for what cannot be made, and DataError
    for a codec or a source that cannot be opened, before anything is written, and before `before_writing` is called;
    DataError for media that cannot be used, StorageError if the disk is full or not writable.
    """
    plans = plan(config, systems)
    with _storage(root):
        inputs = open_inputs(config, plans, recipe_folder=recipe_folder, codecs=codecs)
        if before_writing is not None:
            before_writing()
        (root / REPORT).unlink(missing_ok=True)
        names = tuple(plans)
        results = _make(config, plans, inputs, root, codecs=codecs, progress=progress, names=names, in_use=in_use)
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
    before_writing: Callable[[], object] | None = None,
) -> None:
    """As `prepare`, but only the shared parts and the sets `names`, and without a report. After a call without names,
    several processes may make different sets at once."""
    plans = plan(config, systems)
    with _storage(root):
        inputs = open_inputs(config, plans, recipe_folder=recipe_folder, codecs=codecs)
        if before_writing is not None:
            before_writing()
        _make(config, plans, inputs, root, codecs=codecs, progress=progress, names=names, in_use=in_use)


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
    inputs: Inputs,
    root: Path,
    *,
    codecs: Path | None,
    progress: bool,
    names: Sequence[str],
    in_use: InUse,
) -> tuple[dict[str, str], dict[str, SetReport], dict[str, MediaSource]]:
    """Make sources, codecs and the sets `names`; returns the codecs' identities, the reports and the sources."""
    (root / "sources").mkdir(parents=True, exist_ok=True)
    with bars(progress) as bar:
        sources = _sources(config, inputs, root / "sources", bar)
        hashes = {name: Hashes(root / "sources" / f"{name}.files.json") for name in sources}
        window = min((set_plan.geometry for set_plan in plans.values()), key=lambda geometry: geometry.seconds)
        sources = resolve_copies(sources, config, hashes, window, next(iter(plans.values())).system)
        jobs = _jobs(plans, sources, hashes)
        reader = Reader(demixers=inputs.demixers, device=inputs.device)
        if config.codecs_from is None:
            fit_codecs(config, jobs, root / "codecs", reader, bar, bare=inputs.bare, in_use=in_use.codecs)
        else:
            assert codecs is not None, "the caller resolves `codecs_from`"
            take_codecs(config, codecs, inputs.given, root / "codecs")
        opened = _opened(config, plans, inputs, root / "codecs")
        identities = opened.identities | {
            name: inputs.demixers[f"codecs.{name}"].identity for name in demixers_of(config.codecs)
        }
        nulls = {name: codec.encode([""]).to("cpu") for name, codec in opened.text.items()}
        builder = Builder(
            codecs=opened,
            reader=reader,
            bars=bar,
            device=inputs.device,
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


def _sources(config: PrepareConfig, inputs: Inputs, folder: Path, bar: Bars) -> dict[str, MediaSource]:
    """Every source of the recipe, with its items; synthetic ones are rendered."""
    sources = {}
    for name, section in config.sources.items():
        if isinstance(section, SyntheticSource):
            sources[name] = collect(
                name,
                section,
                recipe_folder=folder,
                rendered=folder / name,
                seed=config.seed,
                beside=inputs.beside[name],
                progress=bar(f"render {name}", section.clips),
            )
        else:
            sources[name] = inputs.media[name]
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


def _opened(config: PrepareConfig, plans: Mapping[str, SetPlan], inputs: Inputs, folder: Path) -> Codecs:
    """The codecs as a phase will load them."""
    fitted = {name for name in used_codecs(plans) if config.codecs[name].fitted}
    found, ready = load_codecs(config.codecs, folder, names=fitted, device=inputs.device), inputs.codecs
    return Codecs(
        video={**found.video, **ready.video},
        audio={**found.audio, **ready.audio},
        text={**found.text, **ready.text},
    )


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
