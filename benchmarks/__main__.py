"""`make bench`: measures the project beside others and by itself, and writes tables and a plot."""

import argparse
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import compare
from benchmarks.api import answers_under_load
from benchmarks.backfill import large_backfill
from benchmarks.days import days, print_parts
from benchmarks.exports import small_exports
from benchmarks.langsmith import langsmith
from benchmarks.location import location
from benchmarks.program import environment_python
from benchmarks.servers import Servers
from benchmarks.sources import sources
from benchmarks.stores import Sample, open_sample
from benchmarks.through_dagster import through_dagster, week_through_dagster


@dataclass(frozen=True)
class Preset:
    """How much is measured."""

    sample: Sample
    rounds: int
    rows: int
    fat_rows: int
    fat_characters: int = 10_000_000
    sqlite_rows: int = 10_000


PRESETS = {
    "small": Preset(Sample("quick", days=2, rows=10_000), rounds=3, rows=20_000, fat_rows=10),
    "full": Preset(Sample("week", days=7, rows=50_000), rounds=5, rows=1_000_000, fat_rows=150),
}


@dataclass(frozen=True)
class Bench:
    """One run of the benchmarks."""

    servers: Servers
    preset: Preset
    options: argparse.Namespace
    environments: Path

    def compare(self) -> None:
        """One day beside the others."""
        store = open_sample(self.preset.sample, self.servers)
        print(f"\nOne day of {self.preset.sample.rows:,} runs, {self.rounds} rounds in turn\n", flush=True)
        found = compare.compare(
            store, self.servers, rounds=self.rounds, names=self.options.programs, environments=self.environments
        )
        print(f"\n{compare.table(found)}\n\n{compare.verdicts(found)}\n", flush=True)
        results = self.options.folder / "compare.json"
        compare.save(found, results)
        python = environment_python("polars", folder=self.environments)
        picture = self.options.folder / "compare.png"
        subprocess.run([python, Path(__file__).with_name("plot.py"), results, picture], check=True)
        print(f"All rounds: {results}\nPlot: {picture}", flush=True)

    def parts(self) -> None:
        """Where the product's CPU goes on that day."""
        store = open_sample(self.preset.sample, self.servers)
        print_parts(store, self.servers, rounds=self.rounds)

    def days(self) -> None:
        """Many days in one process."""
        days(
            self.servers,
            week=self.preset.sample,
            rounds=min(self.rounds, 3),
            sqlite=Sample("one_day", days=1, rows=self.preset.sqlite_rows),
        )

    def location(self) -> None:
        """What Dagster costs before the first row, and while it waits."""
        location(self.servers, open_sample(self.preset.sample, self.servers), rounds=min(self.rounds, 3))

    def dagster(self) -> None:
        """Large days and small ones through Dagster."""
        week_through_dagster(self.servers, open_sample(self.preset.sample, self.servers))
        through_dagster(
            self.servers,
            rows=self.preset.rows,
            fat_rows=self.preset.fat_rows,
            fat_characters=self.preset.fat_characters,
            rounds=self.rounds,
            sources=self.options.sources,
        )

    def api(self) -> None:
        """The HTTP API while clients poll."""
        answers_under_load(self.servers, rows=self.preset.rows)

    def sources(self) -> None:
        """One day out of each known store in ClickHouse."""
        sizes = self.preset.sample.rows, self.preset.rows
        sources(self.servers, rows=sizes[0], many_rows=sizes[1], rounds=min(self.rounds, 3))

    def langsmith(self) -> None:
        """A large day out of an API."""
        langsmith(self.servers, rows=self.preset.rows)

    def exports(self) -> None:
        """Small bulk exports with the daemon."""
        small_exports(self.servers, rounds=self.rounds)

    def backfill(self) -> None:
        """Many small days in one backfill."""
        large_backfill(self.servers)

    @property
    def rounds(self) -> int:
        """Rounds of everything that is repeated."""
        return self.options.rounds or self.preset.rounds


SUBJECTS: dict[str, Callable[[Bench], None]] = {
    "compare": Bench.compare,
    "parts": Bench.parts,
    "days": Bench.days,
    "dagster": Bench.dagster,
    "location": Bench.location,
    "api": Bench.api,
    "sources": Bench.sources,
    "langsmith": Bench.langsmith,
    "exports": Bench.exports,
    "backfill": Bench.backfill,
}


def main() -> None:
    """Measures the subjects that were asked for, one after the other."""
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    with Servers(options.folder) as servers:
        bench = Bench(servers, PRESETS[options.preset], options, options.folder / "environments")
        for subject in options.subjects or SUBJECTS:
            SUBJECTS[subject](bench)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subjects", nargs="*", help=f"what to measure: {', '.join(SUBJECTS)}; without any, all")
    parser.add_argument("--preset", choices=PRESETS, default="full", help="sizes; small is a quick look")
    parser.add_argument("--rounds", type=int, help="rounds of what is repeated")
    parser.add_argument("--sources", nargs="+", choices=["sqlite", "postgres"], default=["sqlite", "postgres"])
    parser.add_argument("--programs", nargs="+", choices=compare.ALL_NAMES, default=compare.NAMES, metavar="PROGRAM")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(os.environ.get("BENCH_FOLDER", ".bench")),
        help="where trace stores, environments and results are kept; a second run finds them there",
    )
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    if unknown := set(options.subjects) - SUBJECTS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    return options


if __name__ == "__main__":
    main()
