"""Moving a registered model's alias. MLflow has no compare-and-set, so promoters take turns and check twice.

A promoter claims its turn by a tag on the model, and continues only if that is the only claim; two promoters that claim
at once both withdraw and try again. Moves made by other means (MLflow's page) are detected by reading the alias right
before and right after the move.
"""

import math
import os
import random
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from talkies.config import GateError
from talkies.signals.answer import pause
from talkies.tracking.names import PREVIOUS
from talkies.tracking.store import FAILURES

LEASE_S = 600.0
TRIES = 20


def aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """alias -> version of a registered model; empty if there is no such model."""
    try:
        return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def expected(found: Mapping[str, str], alias: str, expect: str | None, *, target: str) -> str | None:
    """The version that `alias` is at; GateError unless it is `expect` ('none': unset; None: any version)."""
    now = found.get(alias)
    if expect is not None and (now or "none") != expect.removeprefix("v"):
        raise GateError(
            f"registry: expected {target} at {expect}, found {_shown(now)}; nothing was moved. Compare them, then "
            f"give --expect {now or 'none'}"
        )
    return now


def move(client: MlflowClient, name: str, alias: str, *, to: str, before: str | None, previous: str | None) -> None:
    """Move `alias` from version `before` to version `to`, and previous_<alias> to `previous` (None removes it). The
    alias itself is moved last; if that fails, the other is restored.

    Raises GateError if another process moved it meanwhile, saying who won and whether this call moved it, too.
    """
    with _turn(client, name, alias):
        found = aliases(client, name)
        now, old_previous = found.get(alias), found.get(PREVIOUS + alias)
        if now != before:
            raise GateError(_lost(client, name, alias, before, now) + f"; it was left there, not moved to version {to}")
        _point(client, name, PREVIOUS + alias, previous)
        try:
            client.set_registered_model_alias(name, alias, to)
            now = aliases(client, name).get(alias)
            if now != to:
                lost = _lost(client, name, alias, before, now)
                raise GateError(f"{lost}; this had moved it to version {to} in between")
        except BaseException:
            with suppress(*FAILURES):  # the first error is the one to raise
                _point(client, name, PREVIOUS + alias, old_previous)
            raise


def moved(found: Mapping[str, str], alias: str, *, to: str, previous: str | None) -> dict[str, str]:
    """The aliases `found` as they are after a `move`."""
    others = {known: version for known, version in found.items() if known != PREVIOUS + alias}
    return {**others, alias: to, **({} if previous is None else {PREVIOUS + alias: previous})}


def _point(client: MlflowClient, name: str, alias: str, version: str | None) -> None:
    """Set `alias` to `version`; None removes it."""
    if version is not None:
        client.set_registered_model_alias(name, alias, version)
    elif alias in aliases(client, name):
        client.delete_registered_model_alias(name, alias)


@contextmanager
def _turn(client: MlflowClient, name: str, alias: str) -> Iterator[None]:
    """Hold the only claim on the alias within the block. GateError if another process keeps one."""
    prefix = f"promoting.{alias}."
    claim = f"{prefix}{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    for _ in range(TRIES):
        client.set_registered_model_tag(name, claim, str(time.time()))
        others = [key for key in _claims(client, name, prefix) if key != claim]
        if not others:
            break
        client.delete_registered_model_tag(name, claim)
        pause(random.uniform(0.05, 0.5))
    else:
        raise GateError(
            f"registry: another process is moving {name}@{alias} ({others[0].removeprefix(prefix)}); nothing was "
            "moved. Try again when it has finished"
        )
    try:
        yield
    finally:
        client.delete_registered_model_tag(name, claim)


def _claims(client: MlflowClient, name: str, prefix: str) -> list[str]:
    """The claims on the alias. A claim older than its lease was left by a promoter that died, and is removed."""
    alive = []
    for key, since in client.get_registered_model(name).tags.items():
        if not key.startswith(prefix):
            continue
        if _age_s(since) > LEASE_S:
            client.delete_registered_model_tag(name, key)
        else:
            alive.append(key)
    return alive


def _age_s(since: str) -> float:
    """Seconds since a claim was made; infinity if its time is not a number, which no promoter writes."""
    try:
        age = time.time() - float(since)
    except ValueError:
        return math.inf
    return age if math.isfinite(age) else math.inf


def _lost(client: MlflowClient, name: str, alias: str, before: str | None, now: str | None) -> str:
    text = f"registry: lost the race for {name}@{alias}: it was {_shown(before)} at the start and is {_shown(now)} now"
    if now is None:
        return text
    version = client.get_model_version(name, now)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(version.last_updated_timestamp / 1000))
    return f"{text} (sha256 {version.tags.get('sha256', 'unknown')[:12]}, run {version.run_id}, {when})"


def _shown(version: str | None) -> str:
    return "unset" if version is None else f"version {version}"
