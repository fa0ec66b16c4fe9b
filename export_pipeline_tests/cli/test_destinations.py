"""`export-pipeline destinations` and `export-pipeline secrets`, on a real S3 server."""

import io
import json
import os
import pty
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from export_pipeline_tests.cli.command import Ended, run
from export_pipeline_tests.servers import Rclone
from export_pipeline_tests.small_store import settings_of

Command = Callable[..., Ended]


@pytest.fixture
def settings(rclone: Rclone, tmp_path: Path) -> dict[str, str]:
    made = settings_of(tmp_path, rclone, "unused") | {"SECRET_KEYS": Fernet.generate_key().decode()}
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ENDPOINT_URL", "REGION"):
        del made[name]
    assert run("migrate", folder=tmp_path, settings=made).status == 0
    return made


def good(server: Rclone, bucket: str) -> list[str]:
    return ["destinations", "create", "Lake", "--bucket", bucket, "--endpoint-url", server.endpoint_url]


def with_input(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(values)))


def from_environment(monkeypatch: pytest.MonkeyPatch, server: Rclone) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_access_key)


def test_a_destination_is_created_listed_shown_checked_rotated_and_deleted(
    rclone: Rclone, tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def done(*arguments: str) -> Any:
        ended = run(*arguments, "--json", folder=tmp_path, settings=settings)
        assert (ended.status, ended.err) == (0, "")
        assert rclone.secret_access_key not in ended.out
        return json.loads(ended.out)

    bucket = rclone.new_bucket()
    from_environment(monkeypatch, rclone)
    made = done(*good(rclone, bucket), "--prefix", "a/b", "--option", "addressing_style=path", "--keys", "environment")
    assert made["config"] == {
        "bucket_name": bucket,
        "prefix": "a/b",
        "region": None,
        "endpoint_url": rclone.endpoint_url,
        "include_bucket_in_prefix": True,
        "config_kwargs_s3": {"addressing_style": "path"},
        "s3_additional_kwargs": None,
        "aws_role_arn": None,
    }
    assert made["credentials_keys"] == ["access_key_id", "secret_access_key"]
    assert made["tenant_id"] == "5f0c1c5e-6a5b-4c1d-9f3e-0b7e6d2a4c11"
    assert (made["capabilities"]["write"], made["created_at"][-6:]) == (True, "+00:00")
    assert done("destinations", "list") == [made]
    assert done("destinations", "show", made["id"]) == made
    assert done("destinations", "list", "--workspace", str(uuid.uuid4())) == []
    assert done("destinations", "check", made["id"])["ok"]
    with_input(monkeypatch, access_key_id=rclone.access_key_id, secret_access_key=rclone.secret_access_key)
    assert done("destinations", "rotate", made["id"], "--keys", "stdin")["created_at"] == made["created_at"]
    assert done("secrets", "rotate") == {"encrypted": 1}
    assert done("destinations", "delete", made["id"]) == {"deleted": made["id"]}
    assert done("destinations", "list") == []
    assert rclone.keys(bucket) == []


def test_people_see_tables_and_what_is_lost(
    rclone: Rclone, tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from_environment(monkeypatch, rclone)
    bucket = rclone.new_bucket()
    made = run(*good(rclone, bucket), "--keys", "environment", folder=tmp_path, settings=settings)
    assert made.status == 0
    assert "The store has no conditional writes" in made.out
    listed = run("destinations", "list", folder=tmp_path, settings=settings)
    assert all(text in listed.out for text in ("Lake", bucket, rclone.endpoint_url, "secret_access_key"))
    assert rclone.secret_access_key not in made.out + listed.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--keys", "environment"], "access_key_id and secret_access_key are missing"),
        ([], "say with --keys where the credentials come from"),
        (["--keys", "stdin"], "no JSON object"),
        (["--keys", "none"], "EXPORT_PIPELINE_OWN_CREDENTIALS_WORKSPACES="),
        (["--role-arn", "arn:aws:iam::123456789012:role/x"], "EXPORT_PIPELINE_WORKSPACE_ROLES="),
        (["--keys", "none", "--option", "addressing_style=upwards"], "config_kwargs_s3.addressing_style is one of"),
        (["--keys", "none", "--argument", "Key=x"], "s3_additional_kwargs.Key is not accepted"),
        (["--keys", "none", "--argument", "x"], "not of the form NAME=VALUE"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_stored(
    tmp_path: Path, settings: dict[str, str], arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("not JSON"))
    nowhere = ["destinations", "create", "Lake", "--bucket", "lake", "--endpoint-url", "http://127.0.0.1:1"]
    ended = run(*nowhere, *arguments, folder=tmp_path, settings=settings)
    assert (ended.status, ended.out) == (1, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert json.loads(run("destinations", "list", "--json", folder=tmp_path, settings=settings).out) == []


def test_an_id_that_is_unknown_is_one_sentence(tmp_path: Path, settings: dict[str, str]) -> None:
    for command in ("show", "delete", "check"):
        ended = run("destinations", command, str(uuid.uuid4()), folder=tmp_path, settings=settings)
        assert (ended.status, ended.out) == (1, "")
        assert "There is no destination" in ended.err


def test_a_check_that_fails_ends_with_one_and_the_cure(
    rclone: Rclone, tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from_environment(monkeypatch, rclone)
    bucket = rclone.new_bucket()
    made = run(*good(rclone, bucket), "--keys", "environment", "--json", folder=tmp_path, settings=settings)
    rclone.client().delete_bucket(Bucket=bucket)
    ended = run("destinations", "check", json.loads(made.out)["id"], "--json", folder=tmp_path, settings=settings)
    assert ended.status == 1
    assert json.loads(ended.out)["error"]["error_class"] == "Bucket is not valid"


def test_a_new_key_is_one_that_works(tmp_path: Path) -> None:
    ended = run("secrets", "new", folder=tmp_path)
    assert ended.status == 0
    Fernet(ended.out.strip())


@pytest.mark.slow
def test_on_a_terminal_the_credentials_are_asked_for_and_the_secret_is_not_shown(
    rclone: Rclone, tmp_path: Path, settings: dict[str, str]
) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from export_pipeline.cli.app import main; main()", *good(rclone, "exports"), "--json"],
        cwd=tmp_path,
        env={**os.environ, **{f"EXPORT_PIPELINE_{name}": value for name, value in settings.items()}},
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    # The question for a secret ends with a space, which is written after what was typed too early has been thrown away.
    answers = {b"id:": rclone.access_key_id, b"Secret access key: ": rclone.secret_access_key, b"none: ": ""}
    for question, answer in answers.items():
        while question not in shown:  # ends with OSError where the process ends
            shown += os.read(master, 4096)
        os.write(master, f"{answer}\n".encode())
    out, _ = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 0
    assert json.loads(out)["credentials_keys"] == ["access_key_id", "secret_access_key"]
    assert rclone.secret_access_key.encode() not in shown + out
