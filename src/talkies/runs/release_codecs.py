"""The fitted codecs that a release carries: all that its data was prepared with. Codecs that its own phase does not
read are included, because phases that start from the release may read them.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from talkies.codecs.config import CodecConfig, fitted_names
from talkies.codecs.fitted import fitted_identity
from talkies.config import DataError
from talkies.data.index import INDEX, read_index
from talkies.prepare.pipeline import REPORT
from talkies.prepare.report import REPORT as RECORD


def carried(config: Mapping[str, CodecConfig], data_root: Path) -> dict[str, str]:
    """Part -> identity of every fitted codec that was prepared in `data_root`, each read whole and hashed.

    Raises DataError that names a codec which is missing, damaged, unreadable, of a config other than the recipe's, or
    not the one that the data was encoded with.
    """
    prepared = _prepared(data_root, fitted_names(config))
    found = {}
    for part in fitted_names(config):
        folder = data_root / "codecs" / part
        if not (part in prepared or folder.exists()):
            continue
        try:
            found[part] = fitted_identity(config[part], folder)
        except DataError as error:
            raise DataError(f"data: every release of this data carries its {part} codec: {error}") from None
        if found[part] not in prepared.get(part, {found[part]}):
            raise DataError(
                f"data: every release of this data carries its {part} codec, but {folder} holds {found[part][:16]}, "
                f"and the data was prepared with {min(prepared[part])[:16]}: put that one back, or run "
                "`talkies prepare`"
            )
    return found


def _prepared(data_root: Path, fitted: Collection[str]) -> dict[str, Collection[str]]:
    """Part -> the identities in the preparation's report or, without a report, in the indices of the sets."""
    report = RECORD.find(data_root / REPORT)
    if report is not None:
        return {part: {report.codecs[part]} for part in fitted if part in report.codecs}
    # The preparation is still running or was killed, or the root was copied in parts.
    found: dict[str, Collection[str]] = {}
    for index in sorted((data_root / "sets").glob(f"*/{INDEX}")):
        codecs = read_index(index.parent).header["codecs"]
        found |= {part: {*found.get(part, ()), codecs[part]} for part in fitted if part in codecs}
    return found
