"""Many days in one process: a week of large ones, a year of tiny ones, near and far, and those of many projects."""

import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.program import Measured, median, run_program
from benchmarks.servers import Servers
from benchmarks.stores import Sample, Store, open_sample

HERE = Path(__file__).parent
YEAR = Sample("year", days=365, rows=20)
PROJECTS = Sample("projects", days=90, rows=20, projects=40)
FAR = 30
"""Milliseconds to a far store, there and back."""
HEAD = "| | days | runs | wall s | CPU s | peak RSS MB | S3 requests | |\n|---|--:|--:|--:|--:|--:|--:|---|"


def days(servers: Servers, *, week: Sample, rounds: int, sqlite: Sample) -> None:
    """Prints all of it."""
    print(f"\nDays in one process, `exports.commit.publish_days`, medians of {rounds}\n\n{HEAD}", flush=True)
    large = open_sample(week, servers)
    one: float | None = None
    for count in range(1, week.days + 1):
        run = _median([_publish(large, servers, count=count) for _ in range(rounds if count in {1, week.days} else 1)])
        one = one or run.peak_mb
        _say(f"{week.rows:,} runs a day", run, verdict=f"{run.peak_mb / one:.2f} x the RSS of one day")
    stored = open_sample(sqlite, servers, sqlite=True)
    _say(f"{sqlite.rows:,} runs a day, SQLite", _median([_publish(stored, servers, count=1) for _ in range(rounds)]))
    year = open_sample(YEAR, servers)
    near = _median([_publish(year, servers) for _ in range(rounds)])
    _say("tiny days", near, verdict=_verdict(near.wall, 15))
    with _far(servers.weed.port or 0) as endpoint:
        far = _median([_publish(year, servers, endpoint_url=endpoint) for _ in range(rounds)])
    _say(f"tiny days, bucket {FAR} ms away", far, verdict=_verdict(far.wall, 20))
    _say("tiny days of 40 projects", _publish(open_sample(PROJECTS, servers), servers))


def _publish(
    store: Store,
    servers: Servers,
    *,
    count: int | None = None,
    endpoint_url: str | None = None,
    script: str = "product.py",
) -> Measured:
    _publish.number += 1  # type: ignore[attr-defined]
    prefix = f"days/{_publish.number}"  # type: ignore[attr-defined]
    options = {
        "projects": [name for name, _ in store.projects],
        "first_day": store.sample.first_day.isoformat(),
        "days": count or store.sample.days,
    }
    settings = servers.settings(source_url=store.url, control=store.control, prefix=prefix, endpoint_url=endpoint_url)
    return run_program(
        [sys.executable, str(HERE / script)], options, servers=servers, prefix=prefix, environment=settings
    )


_publish.number = 0  # type: ignore[attr-defined]


def print_parts(store: Store, servers: Servers, *, rounds: int) -> None:
    """Prints the CPU of each part of one day."""
    runs = [_publish(store, servers, count=1, script="parts.py") for _ in range(rounds)]
    print(f"\nWhere one day's CPU goes, medians of {rounds}\n\n| part | CPU s |\n|---|--:|")
    shown = {
        name: statistics.median(run.told["parts"].get(name, 0.0) for run in runs) for name in runs[0].told["parts"]
    }
    main, within = shown.pop("main thread"), ("fetch", "upload", *[name for name in shown if name.startswith("pool ")])
    shown["the rest: commit, control database, S3 calls"] = main - sum(
        cpu for name, cpu in shown.items() if name not in within
    )
    shown["PostgreSQL"], shown["S3 server"] = median(runs, "postgres"), median(runs, "s3")
    for name, cpu in sorted(shown.items(), key=lambda item: -item[1]):
        if cpu > 0.01:
            print(f"| {name} | {cpu:.2f} |")
    print(f"| all | {median(runs, 'cpu'):.2f} |", flush=True)


def _median(runs: Sequence[Measured]) -> Measured:
    return sorted(runs, key=lambda run: run.wall)[len(runs) // 2]


def _verdict(value: float, limit: float) -> str:
    return f"at most {limit:g} s: {'met' if value <= limit else '**missed**'}"


def _say(name: str, run: Measured, *, verdict: str = "") -> None:
    print(
        f"| {name} | {run.told['days']} | {run.told['rows']:,} | {run.wall:.1f} | {run.cpu:.1f} | {run.peak_mb:.0f} "
        f"| {run.requests} | {verdict} |",
        flush=True,
    )


@contextmanager
def _far(port: int) -> Iterator[str]:
    """The address under which a server on this machine is FAR milliseconds away."""
    command = [sys.executable, str(HERE / "far.py"), str(port), str(FAR)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(proxy.stdout.readline())}"
        finally:
            proxy.kill()
