"""The outbox of notices, and its sender against a real HTTP server."""

import hashlib
import hmac
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.errors import SettingsError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import notices
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.registry import sync_projects
from export_pipeline.exports.watch import notices_send
from export_pipeline.exports.watch.notices import Notice, add_notice, due_notices, export_ended, schedule_missed
from export_pipeline.exports.watch.notices_send import GIVE_UP_MICROSECONDS, NotDeliveredError, Webhook, post, send_due
from export_pipeline.exports.watch.overdue import note_overdue
from export_pipeline.runs.window import Window
from export_pipeline_tests.control_rows import known_for_years
from export_pipeline_tests.exports.conftest import MakeSettings
from export_pipeline_tests.exports.memory_source import MemorySource
from export_pipeline_tests.object_store.helpers import answering
from export_pipeline_tests.servers import Postgres
from export_pipeline_tests.servers.http import Answer, Asked, http_server

SECRET = "a key"
BULK = uuid.UUID(int=1)
TENANT = uuid.UUID(int=2)
NOTICE = Notice(uuid.UUID(int=3), "export.failed", "one", "one failed", {}, 0, 0)


class Receiver:
    """Keeps what is posted, and answers with the statuses that it was given, then with 204."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.got: list[Asked] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=t0psecret"

    def answer(self, asked: Asked) -> Answer:
        self.got.append(asked)
        return self.answers.pop(0) if self.answers else Answer(204)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    with http_server(found.answer) as server:
        found.port = server.port
        yield found


@pytest.fixture
def webhook(receiver: Receiver, make_settings: MakeSettings) -> Webhook:
    found = Webhook.from_settings(make_settings(webhook_url=receiver.url, webhook_secret=SECRET))
    assert found is not None
    return found


def add(control: ControlDatabase, subject: str = "one", *, at: int | None = None) -> None:
    moment = control.now() if at is None else at
    with control.begin() as connection:
        add_notice(
            connection, "export.failed", subject=subject, text=f"{subject} fäiled", detail={"day": subject}, at=moment
        )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ControlDatabase]:
    """A control database of each kind."""
    url = f"sqlite:///{tmp_path}/control.db"
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.new_database()
    database = ControlDatabase(url)
    database.migrate()
    yield database
    database.close()


def quiet(line: str) -> None:
    """Takes a log line and forgets it."""


def make_due(control: ControlDatabase) -> None:
    with control.begin() as connection:
        connection.execute(sa.update(notices).values(not_before=0))


def pause_of(control: ControlDatabase) -> float:
    """Seconds until the one notice is tried again."""
    with control.read() as connection:
        row = connection.execute(sa.select(notices.c.not_before)).one()
    return float(row.not_before - control.now()) / 1_000_000


def test_a_notice_is_logged_and_posted_once(control: ControlDatabase, receiver: Receiver, webhook: Webhook) -> None:
    add(control)
    lines: list[str] = []
    assert send_due(control, webhook, log=lines.append) == (1, None)
    assert send_due(control, webhook, log=lines.append) == (0, None)
    assert lines == ["export.failed: one fäiled"]
    (asked,) = receiver.got
    path, body = asked.path, asked.body
    assert path == "/hook?token=t0psecret"
    content = json.loads(body)
    assert content.keys() == {"id", "kind", "at", "text", "detail"}
    assert (content["kind"], content["text"], content["detail"]) == ("export.failed", "one fäiled", {"day": "one"})
    assert datetime.fromisoformat(content["at"]).tzinfo is not None


def test_a_receiver_can_check_who_sent_the_body_and_when(
    control: ControlDatabase, receiver: Receiver, webhook: Webhook
) -> None:
    add(control)
    send_due(control, webhook, log=quiet)
    (asked,) = receiver.got
    headers, body = asked.headers, asked.body
    stamp = headers["Export-Pipeline-Timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    expected = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["Export-Pipeline-Signature"] == f"sha256={expected}"
    assert headers["Export-Pipeline-Notice"] == json.loads(body)["id"]


def test_a_notice_that_is_not_taken_comes_again_with_the_same_id_and_growing_pauses(
    control: ControlDatabase, receiver: Receiver, webhook: Webhook
) -> None:
    receiver.answers = [Answer(500), Answer(503), Answer(404)]
    add(control)
    lines: list[str] = []
    pauses = []
    for status in (500, 503, 404):
        sent, why = send_due(control, webhook, log=lines.append)
        assert (sent, why) == (0, f"127.0.0.1 answers notices with status {status}")
        pauses.append(pause_of(control))
        assert due_notices(control, limit=10, oldest=0) == []
        make_due(control)
    assert send_due(control, webhook, log=lines.append) == (1, None)
    assert [round(pause, -1) for pause in pauses] == [30, 60, 120]
    assert len({asked.headers["Export-Pipeline-Notice"] for asked in receiver.got}) == 1
    assert lines == ["export.failed: one fäiled"]


def test_a_redirect_is_not_followed(control: ControlDatabase, receiver: Receiver, webhook: Webhook) -> None:
    receiver.answers = [Answer(307, headers={"Location": receiver.url})]
    add(control)
    assert send_due(control, webhook, log=quiet) == (0, "127.0.0.1 answers notices with status 307")
    assert len(receiver.got) == 1


def test_where_nobody_listens_the_notice_waits_and_no_secret_is_told(
    control: ControlDatabase, make_settings: MakeSettings
) -> None:
    settings = make_settings(webhook_url="http://127.0.0.1:9/t0psecret", webhook_secret=SECRET)
    webhook = Webhook.from_settings(settings)
    add(control)
    assert send_due(control, webhook, log=quiet) == (0, "127.0.0.1 does not take notices: Connection refused")
    assert "t0psecret" not in repr(webhook)
    assert SECRET not in repr(webhook)
    make_due(control)
    assert len(due_notices(control, limit=10, oldest=0)) == 1


def test_an_old_notice_is_given_up(control: ControlDatabase, receiver: Receiver, webhook: Webhook) -> None:
    add(control, "old", at=control.now() - GIVE_UP_MICROSECONDS - 1_000_000)
    add(control, "new")
    assert send_due(control, webhook, log=quiet) == (1, None)
    assert [json.loads(asked.body)["text"] for asked in receiver.got] == ["new fäiled"]


def test_without_an_address_notices_are_logged_only(control: ControlDatabase, make_settings: MakeSettings) -> None:
    assert Webhook.from_settings(make_settings()) is None
    add(control)
    lines: list[str] = []
    assert send_due(control, None, log=lines.append) == (1, None)
    assert send_due(control, None, log=lines.append) == (0, None)
    assert lines == ["export.failed: one fäiled"]


@pytest.mark.parametrize(
    ("url", "private", "sentence"),
    [
        (
            "https://127.0.0.1:9/x",
            False,
            "leads to 127.0.0.1, a loopback or private address, which is not allowed here",
        ),
        ("https://[::1]:9/x", False, "leads to ::1, a loopback"),
        ("https://localhost:9/x", False, "a loopback or private address"),
        ("http://169.254.169.254/latest", True, "a link-local or metadata address, which is never allowed"),
        ("http://[::ffff:169.254.169.254]/", True, "a link-local or metadata address, which is never allowed"),
        ("http://8.8.8.8/x", True, "a public address, which needs https"),
    ],
)
def test_a_forbidden_address_is_never_connected_to(
    control: ControlDatabase, make_settings: MakeSettings, url: str, private: bool, sentence: str
) -> None:
    settings = make_settings(webhook_url=url, webhook_secret=SECRET, allow_private_endpoints=private)
    add(control)
    sent, why = send_due(control, Webhook.from_settings(settings), log=quiet)
    assert sent == 0
    assert why is not None
    assert why.startswith("EXPORT_PIPELINE_WEBHOOK_URL leads to ")
    assert sentence in why


@pytest.mark.parametrize(
    ("scheme", "head", "piece"),
    [
        ("http", b"", b"H"),
        ("http", b"HTTP/1.1 204 No Content\r\n", b"X-A: b\r\n"),
        ("http", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("https", b"\x16\x03\x03\x3f\xff", b"\x02"),
    ],
    ids=["status", "headers", "continue", "handshake"],
)
def test_an_answer_a_few_bytes_at_a_time_is_not_waited_for(
    scheme: str, head: bytes, piece: bytes, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices_send, "ANSWER_SECONDS", 0.5)
    with answering(head, piece, pause=threading.Event()) as (url, _):
        settings = make_settings(webhook_url=url.replace("http", scheme, 1), webhook_secret=SECRET)
        found = Webhook.from_settings(settings)
        assert found is not None
        with pytest.raises(NotDeliveredError, match=r"^127\.0\.0\.1 does not take notices: no answer in time$"):
            post(found, NOTICE)


def test_an_endless_answer_is_taken_by_its_status_and_not_read(make_settings: MakeSettings) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536) as (url, sent):
        found = Webhook.from_settings(make_settings(webhook_url=url, webhook_secret=SECRET))
        assert found is not None
        post(found, NOTICE)
    assert sent[0] < 32 * 1024 * 1024


def test_a_proxy_that_the_environment_names_is_not_the_webhook_s(
    receiver: Receiver, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    post(webhook, NOTICE)
    assert len(receiver.got) == 1


def test_the_addresses_that_were_looked_at_are_the_ones_that_are_connected_to(
    receiver: Receiver, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", receiver.port))]]

    def resolve(host: str, *_: object, **__: object) -> object:
        assert host == "hooks.test"
        return answers.pop(0)  # a second question would fail

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    settings = make_settings(webhook_url="http://hooks.test/x", webhook_secret=SECRET)
    found = Webhook.from_settings(settings)
    assert found is not None
    post(found, NOTICE)
    assert [asked.path for asked in receiver.got] == ["/x"]


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "host/x", "https://", "https://user:pass@host/", "https://ho st/", "https://h:x/", "https://h/#a"],
)
def test_what_is_no_address_is_refused(make_settings: MakeSettings, url: str) -> None:
    with pytest.raises(SettingsError, match=r"WEBHOOK_URL must look like https://host/path"):
        Webhook.from_settings(make_settings(webhook_url=url, webhook_secret=SECRET))


def test_a_webhook_without_a_key_is_refused(make_settings: MakeSettings) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_URL needs EXPORT_PIPELINE_WEBHOOK_SECRET"):
        Webhook.from_settings(make_settings(webhook_url="https://host/"))


def test_a_notice_goes_with_the_change_that_it_tells_of(control: ControlDatabase) -> None:
    def fail(connection: Transaction) -> None:
        export_ended(connection, "export.failed", bulk_id=BULK, tenant_id=TENANT, error="why", at=1)
        raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        control.run(fail)
    assert due_notices(control, limit=10, oldest=0) == []


def test_an_export_is_told_of_once_for_each_of_its_ends(control: ControlDatabase) -> None:
    for at in (1, 1, 2):
        with control.begin() as connection:
            export_ended(connection, "export.failed", bulk_id=BULK, tenant_id=TENANT, error="no rights", at=at)
    with control.begin() as connection:
        export_ended(
            connection, "export.completed", bulk_id=BULK, tenant_id=TENANT, error=None, at=3, detail={"rows": 7}
        )
    found = due_notices(control, limit=10, oldest=0)
    assert [notice.text for notice in found] == [
        f"export {BULK} failed: no rights",
        f"export {BULK} failed: no rights",
        f"export {BULK} is complete",
    ]
    assert found[2].detail == {
        "rows": 7,
        "export_id": str(BULK),
        "tenant_id": str(TENANT),
        "error": None,
        "warning": None,
    }


def test_a_missed_window_is_told_of_once(control: ControlDatabase) -> None:
    window = Window.of_day(date(2026, 3, 1))
    for at in (1, 2):
        with control.begin() as connection:
            schedule_missed(connection, schedule_id=BULK, tenant_id=TENANT, window=window, why="it was down", at=at)
    (notice,) = due_notices(control, limit=10, oldest=0)
    assert notice.text == f"schedule {BULK} missed the window {window}: it was down"
    assert notice.detail["start"] == "2026-03-01T00:00:00+00:00"


def test_a_project_s_newest_day_is_overdue_an_hour_after_the_schedule_and_told_of_once(
    control: ControlDatabase, source: MemorySource, make_settings: MakeSettings
) -> None:
    settings = make_settings(start_date=date(2026, 3, 1))
    sync_projects(control, source, settings, count=False)
    known_for_years(control)
    for hour, minute, expected in ((0, 40, ["day 2026-03-09"]), (1, 29, []), (1, 31, ["day 2026-03-10"]), (9, 0, [])):
        note_overdue(control, settings, now=datetime(2026, 3, 11, hour, minute, tzinfo=UTC))
        due = due_notices(control, limit=10, oldest=0)
        assert [f"day {notice.detail['day']}" for notice in due] == expected
        with control.begin() as connection:
            connection.execute(sa.update(notices).values(sent_at=1))
