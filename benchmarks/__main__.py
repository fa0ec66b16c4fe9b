"""`make bench`: large days and small ones, through Dagster, into an S3 server on this machine."""

import argparse
import shutil
import statistics
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.store import DAY, Day, write_postgres, write_sqlite
from benchmarks.worker import Cost, measure
from export_pipeline.local.seaweedfs import REGION, Identity, SeaweedFS
from export_pipeline_tests.servers import Postgres

SCRIPTS = Path(sysconfig.get_path("scripts"))
BUCKET = "bench"
PARTITION = DAY.date().isoformat()


@dataclass(frozen=True)
class Preset:
    """How large the large days are: rows, and rows with characters each."""

    rows: int
    fat_rows: int
    fat_characters: int
    rounds: int


PRESETS = {
    "small": Preset(rows=20_000, fat_rows=10, fat_characters=10_000_000, rounds=1),
    "full": Preset(rows=1_000_000, fat_rows=150, fat_characters=10_000_000, rounds=5),
}


def main() -> None:
    """Measures and prints a table a subject."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="export-pipeline-bench-") as name, ExitStack() as stack:
        bench = Bench(Path(name), stack)
        days = [
            Day("many_rows", rows=options.rows, characters=1_500),
            Day("fat_rows", rows=options.fat_rows, characters=options.fat_characters, spread=0),
        ]
        small = [Day(f"small_{number}", rows=100, characters=6_000) for number in range(options.rounds)]
        print("One day through `dagster asset materialize` (worker: one process, Dagster included)\n")
        print(f"{'source':<10} {'day':<10} {'rows':>9} {'wall s':>8} {'CPU s':>8} {'peak RSS MB':>12}")
        for source in options.sources:
            environment = bench.prepare(source, days + small)
            for day in days:
                cost = bench.materialize(day, environment)
                print(
                    f"{source:<10} {day.project:<10} {day.rows:>9} {cost.wall:>8.1f} {cost.cpu:>8.1f} "
                    f"{cost.peak_mb:>12.0f}",
                    flush=True,
                )
            _small_days(bench, environment, small, source=source)


def _small_days(bench: "Bench", environment: dict[str, str], days: list[Day], *, source: str) -> None:
    bare, ours = [], []
    for day in days:
        bare.append(bench.bare(environment))
        ours.append(bench.materialize(day, environment))
    least, most = (statistics.median(cost.cpu for cost in costs) for costs in (bare, ours))
    print(
        f"{source:<10} {'small':<10} {days[0].rows:>9} CPU s: {most:.1f}, an empty asset in a bare location "
        f"{least:.1f}, above it {most - least:.1f} (medians of {len(days)})",
        flush=True,
    )


class Bench:
    """The servers and folders of one benchmark run."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._root = Identity("bench", "bench-key", "bench-secret")
        self._weed = stack.enter_context(SeaweedFS(folder / "s3", identities=[self._root], buckets=[BUCKET]))

    def prepare(self, source: str, days: list[Day]) -> dict[str, str]:
        """Writes the trace store and lists its projects; the environment of the workers."""
        folder = self._folder / source
        (folder / "dagster").mkdir(parents=True)
        (folder / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        if source == "sqlite":
            url = write_sqlite(folder / "traces.db", days)
        else:
            url = write_postgres(self._stack.enter_context(_postgres()).new_database(), days)
        environment = {
            "DAGSTER_HOME": str(folder / "dagster"),
            "EXPORT_PIPELINE_SOURCE_URL": url,
            "EXPORT_PIPELINE_CONTROL_URL": f"sqlite:///{folder / 'control.db'}",
            "EXPORT_PIPELINE_BUCKET": BUCKET,
            "EXPORT_PIPELINE_PREFIX": source,
            "EXPORT_PIPELINE_REGION": REGION,
            "EXPORT_PIPELINE_ENDPOINT_URL": self._weed.endpoint_url,
            "EXPORT_PIPELINE_ALLOW_PRIVATE_ENDPOINTS": "true",
            "EXPORT_PIPELINE_ACCESS_KEY_ID": self._root.access_key_id,
            "EXPORT_PIPELINE_SECRET_ACCESS_KEY": self._root.secret_access_key,
        }
        measure([str(SCRIPTS / "export-pipeline"), "projects", "sync"], environment=environment, folder=self._folder)
        return environment

    def materialize(self, day: Day, environment: dict[str, str]) -> Cost:
        """What it costs to export the day, and its rows are in the bucket."""
        return self._dagster(["-m", "export_pipeline.definitions", "--select", f"runs/{day.project}"], environment)

    def bare(self, environment: dict[str, str]) -> Cost:
        """What an empty asset costs."""
        return self._dagster(["-f", str(Path(__file__).with_name("bare.py")), "--select", "empty"], environment)

    def _dagster(self, target: list[str], environment: dict[str, str]) -> Cost:
        command = [str(SCRIPTS / "dagster"), "asset", "materialize", *target, "--partition", PARTITION]
        return measure(command, environment=environment, folder=self._folder)


@contextmanager
def _postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="full", help="sizes; small takes about a minute")
    parser.add_argument("--rows", type=int, help="runs of the day with many")
    parser.add_argument("--fat-rows", type=int, help="runs of the day with large ones")
    parser.add_argument("--fat-characters", type=int, help="characters of each of them")
    parser.add_argument("--rounds", type=int, help="rounds of the small day")
    parser.add_argument("--sources", nargs="+", choices=["sqlite", "postgres"], default=["sqlite", "postgres"])
    options = parser.parse_args()
    for name, value in vars(PRESETS[options.preset]).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if shutil.which("weed", path=str(SCRIPTS)) is None:
        sys.exit("SeaweedFS is not installed; run `make setup`")
    return options


if __name__ == "__main__":
    main()
