"""Text that can carry a credential is refused by the name of its part, and never shown."""

import time

import pytest

from talkies.config.secrets import credential, masked

BEFORE_AT, QUERY, FRAGMENT, ASSIGNED = "before its `@`", "query", "fragment", "`name=value`"
PORT = "in place of its port"
CARRIERS = [
    ("https://me:sesame@host/x", BEFORE_AT, "https://***@host/x"),
    ("https://sesame@host", BEFORE_AT, "https://***@host"),
    ("HTTPS://sesame@host", BEFORE_AT, "HTTPS://***@host"),
    ("-1e3://me:sesame@host", BEFORE_AT, "-1e3://***@host"),
    ("https://:sesame@host:5000/x?", BEFORE_AT, "https://***@host:5000/x"),
    ("--https://me:sesame@host", BEFORE_AT, "--https://***@host"),
    ("models:/https://me:sesame@host", BEFORE_AT, "models:/https://***@host"),
    ("https://me:a/sesame@host", BEFORE_AT, "https://***@host"),
    ("https://me:a sesame@host", BEFORE_AT, "https://***@host"),
    ("https:/me:sesame@host/", BEFORE_AT, "https:/***@host/"),
    ("https:///me:sesame@host/", BEFORE_AT, "https:///***@host/"),
    ("//me:sesame@host/", BEFORE_AT, "//***@host/"),
    ("me:sesame@host", BEFORE_AT, "me:***@host"),
    ("databricks://sesame@workspace", BEFORE_AT, "databricks://***@workspace"),
    ("postgresql://me:sesame@host/db", BEFORE_AT, "postgresql://***@host/db"),
    ("mysql+pymysql://me:sesame@host/db", BEFORE_AT, "mysql+pymysql://***@host/db"),
    ("https://host/?password=sesame", QUERY, "https://host/?password=***"),
    ("https://host/?token=sesame&x=sesame", QUERY, "https://host/?token=***&x=***"),
    ("https://host/?sesame", QUERY, "https://host/?***"),
    (
        "postgresql://host/db?sslmode=require&password=sesame",
        QUERY,
        "postgresql://host/db?sslmode=require&password=***",
    ),
    ("sqlite:///x.db?key=sesame", QUERY, "sqlite:///x.db?key=***"),
    ("s3://bucket/x?X-Amz-Signature=sesame", QUERY, "s3://bucket/x?***"),
    ("models:/toy?token=sesame", QUERY, "models:/toy?token=***"),
    ("models:/toy@champion#sesame", FRAGMENT, "models:/toy@champion#***"),
    ("https://host/#sesame", FRAGMENT, "https://host/#***"),
    ("https://host/x;token=sesame", ASSIGNED, "https://host/x;token=***"),
    ("https://host/%3Fpassword=sesame", ASSIGNED, "https://host/%3Fpassword=***"),
    ("https://host/%3Fpassword%3Dsesame", ASSIGNED, "https://host/%3Fpassword%3D***"),
    ("https://me:sesame%40host/x", BEFORE_AT, "https://***@host/x"),
    ("s3://sesame%40host/x", BEFORE_AT, "s3://***@host/x"),
    ("https://host:sesame/x", PORT, "https://host:***/x"),
    ("postgresql://host:5sesame", PORT, "postgresql://host:***"),
    ("mysql://[::1]:sesame/x", PORT, "mysql://[::1]:***/x"),
    ("no answer from https://host:sesame: refused", PORT, "no answer from https://host:*** refused"),
    ("hf_sesame1sesame1sesame1", "access token", "***"),
    ("https://host/hf_sesame1sesame1sesame1", "access token", "https://host/***"),
    ("see https://me:sesame@host/ for it", BEFORE_AT, "see https://***@host/ for it"),
    ("tracking.uri=https://me:a sesame@host", BEFORE_AT, "tracking.uri=https://***@host"),
    ("tracking.uri=https://host?sesame", QUERY, "tracking.uri=https://host?***"),
]
PLAIN = [
    "models:/toy@champion",
    "models:/toy/3",
    "sqlite:////home/me@work/mlflow.db",
    "https://host:5000/mlflow",
    "http://[::1]:5000",
    "http://[::1]",
    "https://host:",
    "no answer from http://host:5000: refused",
    "(see http://host:5000).",
    "databricks",
    "databricks://profile",
    "databricks://scope:prefix",
    "postgresql://me@host/db?sslmode=require&sslrootcert=/x",
    "file:///data/me@work",
    "s3://bucket/clips",
    "/data/me@work/a#b?c",
    "352x640x193@24",
    "sets.train.duration_token=true",
    "a note: me@host says 2:1",
]


@pytest.mark.parametrize(("text", "part", "hidden"), CARRIERS)
def test_a_part_that_can_carry_a_credential_is_named_and_masked(text: str, part: str, hidden: str) -> None:
    description = credential(text)
    assert description is not None
    assert part in description
    assert "sesame" not in description
    assert masked(text) == hidden
    assert masked(hidden) == hidden


@pytest.mark.parametrize("text", PLAIN)
def test_text_without_a_credential_is_unchanged(text: str) -> None:
    assert credential(text) is None
    assert masked(text) == text


def test_messages_hide_values_of_secret_names_but_show_pages_of_a_server() -> None:
    assert masked("unrecognized arguments: --password=sesame -x") == "unrecognized arguments: --password=*** -x"
    assert masked("MLFLOW_TRACKING_TOKEN=sesame talkies train") == "MLFLOW_TRACKING_TOKEN=*** talkies train"
    assert masked("at https://host:5000/#/experiments/1/runs/ab12") == "at https://host:5000/#/experiments/1/runs/ab12"


@pytest.mark.parametrize("piece", ["a", "token", "a=", "://", "https://", "a:", "@", "eyJ", "sk-", "a.password=", "?#"])
def test_the_time_is_linear_in_the_length(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    began = time.process_time()
    credential(text)
    masked(text)
    assert time.process_time() - began < 20
