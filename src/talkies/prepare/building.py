"""Builds one shard set, from media files to a folder that a phase opens."""

import time
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from talkies.config import DataError
from talkies.config.plain_json import canonical_json, json_sha256
from talkies.config.quoting import shown
from talkies.data.clip import Clip, Header
from talkies.data.index import read_index
from talkies.data.shards import ShardSet, ShardWriter
from talkies.files.durable import write_text
from talkies.files.folders import replacing_folder
from talkies.prepare.bars import Bars
from talkies.prepare.clips import RawClip
from talkies.prepare.encode import encode
from talkies.prepare.jobs import NOTHING_IN_USE, OLDER, READER, InUse, SetJob
from talkies.prepare.plan import SetPlan
from talkies.prepare.reading import Reader
from talkies.prepare.rejection import SUBSET
from talkies.prepare.report import PREPARED, Quarantined, SetReport, reasons
from talkies.signals.answer import check_signal
from talkies.streams.codec import Codecs

RECORD = "prepared.json"
BATCH = 32
BATCH_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Builder:
    """What all sets of a preparation share."""

    codecs: Codecs
    reader: Reader
    bars: Bars
    device: torch.device
    shard_clips: int
    quarantine_max: int
    in_use: InUse = NOTHING_IN_USE

    def build(self, job: SetJob, header: Header, folder: Path) -> SetReport:
        """Make the set in `folder`, or reuse the existing one if it was made from the same files with the same codecs.

        Raises DataError if no clip is left or more are quarantined than allowed; `folder` is then unchanged.
        """
        existing = self._existing(job, header, folder)
        if existing is not None:
            _limit(job, existing.quarantined, self.quarantine_max)
            return existing
        with replacing_folder(folder) as work:
            report = self._write(job, header, work)
            record = {"key": self._key(job, header, READER), "report": report.to_json()}
            write_text(work / RECORD, canonical_json(record) + "\n")
        if report.truncated:
            warnings.warn(
                f"prepare: set {shown(header.name)}: {report.truncated} of {report.kept} captions are longer "
                "than the text encoder accepts; they are truncated",
                stacklevel=2,
            )
        return report

    def _key(self, job: SetJob, header: Header, reader: int, *, cut: bool = False) -> str:
        """What the set is made from. `cut`: scripts that are too long for a text encoder were cut, as they once were,
        and are not quarantined."""
        values = {"schema": reader, "job": job.key(reader), "codecs": dict(header.codecs)}
        tracks = job.plan.tracks
        if tracks is not None and tracks.dual is not None:
            values["second"] = self.reader.demixers[tracks.dual_key].identity
        if job.plan.system.captions.wording and not cut:
            values["scripts"] = "whole"
        return json_sha256({**values, "shard_clips": self.shard_clips})

    def _existing(self, job: SetJob, header: Header, folder: Path) -> SetReport | None:
        """The report of the set in `folder`, if it was made from the same input by this reader, or by an older reader
        for a run that has started with it, and if it stores all that is asked for."""
        now, cut = self._key(job, header, READER), self._key(job, header, READER, cut=True)
        found = reusable(folder, {now, cut, *(self._key(job, header, reader, cut=True) for reader in OLDER)})
        if found is None:
            return None
        key, report = found
        lacking = {*job.plan.streams, *job.plan.texts} - read_index(folder).tensors.keys()
        same = key == now or (key == cut and not report.truncated)
        kept = same or report.fingerprint in self.in_use.sets
        return report if kept and not lacking else None

    def _write(self, job: SetJob, header: Header, work: Path) -> SetReport:
        began, count = time.monotonic(), Tally()
        refused: list[Quarantined] = []
        outside = 0
        bar = self.bars(header.name, len(job.items))
        writer = ShardWriter(work, header, self.shard_clips)
        for result in self._encoded(job):
            if isinstance(result, Quarantined) and result.reason == SUBSET:
                outside += 1
            elif isinstance(result, Quarantined):
                refused.append(result)
                _limit(job, refused, self.quarantine_max)
            else:
                raw, clip = result
                writer.add(clip)
                count = count.plus(raw, job.plan, self.codecs)
            bar(count.kept + outside + len(refused))
            check_signal()
        if not count.kept:
            raise DataError(_empty(job, refused, outside))
        writer.close()
        return SetReport(
            kept=count.kept,
            seconds=round(count.seconds, 3),
            truncated=count.truncated,
            padded=count.padded,
            peak_limited=count.peak_limited,
            late=count.late,
            outside=outside,
            treated=dict(sorted(count.treated.items())),
            quarantined=tuple(refused),
            fingerprint=ShardSet.open(work, verify=False).fingerprint,
            took=round(time.monotonic() - began, 3),
        )

    def _encoded(self, job: SetJob) -> Iterator[tuple[RawClip, Clip] | Quarantined]:
        """Every item, encoded in batches: the clip with the RawClip that it was made from, or why there is none."""
        size, batch = batch_size(job.plan), list[RawClip]()
        for read in job.read(self.reader):
            if isinstance(read, Quarantined):
                yield read
                continue
            batch.append(read)
            if len(batch) == size:
                yield from self._batch(job.plan, batch)
                batch = []
        if batch:
            yield from self._batch(job.plan, batch)

    def _batch(self, plan: SetPlan, batch: list[RawClip]) -> Iterator[tuple[RawClip, Clip] | Quarantined]:
        for raw, result in zip(batch, encode(batch, plan, self.codecs, self.device), strict=True):
            if isinstance(result, Clip):
                yield raw, result
            else:
                yield Quarantined(id=raw.id, reason=result.reason, detail=result.detail)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts over the clips that are kept."""

    kept: int = 0
    seconds: float = 0.0
    truncated: int = 0
    padded: int = 0
    peak_limited: int = 0
    late: int = 0
    treated: Counter[str] = field(default_factory=Counter)

    def plus(self, clip: RawClip, plan: SetPlan, codecs: Codecs) -> "Tally":
        """The counts with one more clip."""
        window = plan.geometry.samples(plan.sample_rate)
        return replace(
            self,
            kept=self.kept + 1,
            seconds=self.seconds + (float(plan.geometry.seconds) if plan.video else clip.real / plan.sample_rate),
            truncated=self.truncated
            + any(
                codecs.text[codec].overflow(plan.system.captions.written(text, clip.caption)) > 0
                for text, codec in plan.texts.items()
            ),
            padded=self.padded + (plan.audio and clip.real < window),
            peak_limited=self.peak_limited + clip.limited,
            late=self.late + clip.late,
            treated=self.treated + Counter(clip.treated),
        )


def batch_size(plan: SetPlan) -> int:
    """Clips to encode at once: as many as BATCH_BYTES of fp32 pixels hold, at most BATCH."""
    size = plan.geometry
    pixels = size.frames * size.height * size.width * 3 * 4
    return max(1, min(BATCH, BATCH_BYTES // pixels)) if plan.video else BATCH


def reusable(folder: Path, keys: Collection[str]) -> tuple[str, SetReport] | None:
    """The key and the report of the set in `folder` if it has one of these keys and its shards are intact; warns if
    they are damaged."""
    try:
        record = PREPARED.find(folder / RECORD)
    except DataError as error:
        warnings.warn(f"prepare: making the set again: {error}", stacklevel=3)
        return None
    if record is None or record.key not in keys:
        return None
    try:
        fingerprint = ShardSet.open(folder).fingerprint
    except DataError as error:
        warnings.warn(f"prepare: making the set again: {error}", stacklevel=3)
        return None
    intact = fingerprint == record.report.fingerprint
    return (record.key, replace(record.report, reused=True)) if intact else None


def _empty(job: SetJob, refused: Sequence[Quarantined], outside: int) -> str:
    """Why a set without a clip has none."""
    where = f"prepare: set {shown(job.plan.name)} is empty"
    if not outside:
        return f"{where}: all {len(refused)} media files are quarantined: {reasons(refused)}"
    others = f", and {len(refused)} are quarantined: {reasons(refused)}" if refused else ""
    return f"{where}: {outside} media files are outside of its subset, {job.plan.config.subset}{others}"


def _limit(job: SetJob, refused: Sequence[Quarantined], allowed: int) -> None:
    if len(refused) > allowed:
        raise DataError(
            f"prepare: set {shown(job.plan.name)} has more than `quarantine_max` = {allowed} media files that "
            f"cannot be used: {reasons(refused)}; repair them, or raise `quarantine_max`"
        )
