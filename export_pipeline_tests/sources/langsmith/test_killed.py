"""A worker that is killed at random moments leaves the whole day, an earlier one, or none: in order, each run once.

What a day that is there says of attachments is true: each that it names lies in the bucket.
"""

import io
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path

import polars as pl
import pytest

from export_pipeline.exports.budget import shared_budgets
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.http import intervals
from export_pipeline.sources.langsmith import api
from export_pipeline_tests.control_databases import new_sqlite
from export_pipeline_tests.exports.commit import children
from export_pipeline_tests.exports.commit.bench import QUICK, Bench, make_store, new_export
from export_pipeline_tests.exports.commit.promises import check_nothing_left
from export_pipeline_tests.servers import Rclone
from export_pipeline_tests.servers.http import Answer, Asked
from export_pipeline_tests.servers.langsmith import KEY, Fault, LangSmith
from export_pipeline_tests.sources.langsmith.runs import MIDNIGHT, add_day

pytestmark = pytest.mark.slow

ATTEMPTS = 12
RUNS = 240
REQUESTS = 45
"""As many as a whole day takes, about, without attachments."""
WITH_ATTACHMENTS = 6
"""One run of so many has some."""


@pytest.fixture
def bench(tmp_path: Path, rclone: Rclone, server: LangSmith) -> Iterator[Bench]:
    """The server's project, to be exported."""
    project, bucket, control = server.add_project("chat", start=MIDNIGHT), rclone.new_bucket(), new_sqlite(tmp_path)
    made = Bench(control, make_store(rclone, bucket), new_export(control, bucket, project=project), rclone)
    with closing(made):
        yield made


def work(attempt: children.Attempt, source_url: str, last_step: int | None) -> None:
    """One attempt in a process of its own, small parts of a day at a time; it kills itself at its n-th step."""
    intervals.ROWS, api.PAGE_ROWS = 40, {"v1": 10, "v2": 10}
    bench, steps = children.bench_of(attempt), 0

    def on_step(name: str) -> None:
        nonlocal steps
        steps += 1
        if steps == last_step:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = load_settings(
        source_url=source_url,
        source_api_key=KEY,
        source_rate=10_000,
        allow_private_endpoints=True,
        control_url=attempt.control_url,
        bucket=attempt.export.bucket,
    )
    with closing(open_source(settings, budgets=shared_budgets(bench.control))) as source:
        bench.publish(source, limits=attempt.limits, on_step=on_step, owner=f"process:test:{os.getpid()}")


def worker_of(attempt: children.Attempt, server: LangSmith, last_step: int | None) -> BaseProcess:
    """A worker, not begun yet."""
    return children.context().Process(target=work, args=(attempt, server.source_url, last_step), daemon=True)


def kills_at(number: int, kill: Callable[[], None]) -> Fault:
    """The worker dies while it waits for the answer to its n-th request."""
    asked_before = count(1)

    def fault(asked: Asked, answer: Answer) -> Answer:
        if next(asked_before) == number:
            kill()
        return answer

    return fault


def rows_of(server: LangSmith) -> list[tuple[str, str]]:
    """Id and name of the runs as the day is to have them."""
    runs = sorted(server.runs.values(), key=lambda run: (run["start_time"], run["id"]))
    return [(run["id"], run["name"]) for run in runs]


def attach(server: LangSmith, run: str, number: int) -> None:
    """Gives a run two attachments, of which one is that of another run too."""
    contents = {"own": f"of {number}".encode() * 1_000, "shared": bytes([number % 3]) * 100_000}
    server.runs[run]["attachments"] = dict.fromkeys(contents, "image/png")
    server.files.update({(run, name): content for name, content in contents.items()})


def named(bench: Bench) -> dict[tuple[str, str], bytes]:
    """What lies in the bucket where the day's file says that attachments lie, by run and name."""
    data = bench.file()
    found: dict[tuple[str, str], bytes] = {}
    frame = pl.DataFrame() if data is None else pl.read_parquet(io.BytesIO(data), columns=["id", "extra"])
    for run, extra in frame.iter_rows():
        for entry in json.loads(extra or "{}").get("attachments", ()):
            answer = bench.server.client().get_object(Bucket=bench.export.bucket, Key=entry["key"])
            found[run, entry["name"]] = answer["Body"].read()
    return found


@pytest.mark.parametrize(("seed", "attachments"), [(1, False), (2, True)])
def test_no_kill_leaves_a_short_a_doubled_or_an_unordered_day(
    bench: Bench, server: LangSmith, seed: int, attachments: bool
) -> None:
    chance = random.Random(seed)
    server.storage = f"http://127.0.0.1:{server.port}"
    begun = add_day(server, bench.export.project, RUNS)
    for number, (_, run) in enumerate(begun[::WITH_ATTACHMENTS] if attachments else []):
        attach(server, run, number)
    requests = REQUESTS + len(server.files)
    limits = replace(QUICK, attachments=attachments)
    attempt, days, ended = children.attempt_of(bench, [], limits=limits), [], []
    for number in range(ATTEMPTS + 1):
        start = MIDNIGHT + timedelta(seconds=chance.randrange(86_400))
        run = server.add_run(bench.export.project, start, name=f"n {number}")
        if attachments:
            attach(server, run, 1_000 + number)
        days.append(rows_of(server))
        is_last, at_request = number == ATTEMPTS, chance.random() < 0.5
        process = worker_of(attempt, server, None if at_request or is_last else chance.randrange(1, 30))
        server.always.clear()
        if at_request and not is_last:
            server.always[""] = kills_at(chance.randrange(1, requests), process.kill)
        process.start()
        process.join(120)
        ended.append(process.exitcode)
        assert bench.published() in [None, *days]
        assert named(bench).items() <= server.files.items()
        with bench.control.begin() as transaction:
            children.expire_leases(transaction)

    assert set(ended[:-1]) <= {0, -signal.SIGKILL}
    assert ended.count(-signal.SIGKILL) >= ATTEMPTS // 2
    assert ended[-1] == 0
    assert bench.published() == days[-1]
    assert named(bench) == server.files
    check_nothing_left(bench)
