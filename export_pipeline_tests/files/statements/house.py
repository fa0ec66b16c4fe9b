"""One project in a trace store, published in every format and compression, and what plain SQL says of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from export_pipeline.exports.commit.day import DayOutcome, DayRequest
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import Publisher
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord, TableRecord
from export_pipeline.exports.projects.registry import find_project, sync_projects
from export_pipeline.exports.proof.readable import readable
from export_pipeline.files.statements.table import KEY_ID, SECRET, Table
from export_pipeline.runs.schema import RUN_FIELDS, FormatVersion
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.settings import Compression, load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline_sample.write import write_sample
from export_pipeline_tests.exports.commit.bench import QUICK, make_store, new_export
from export_pipeline_tests.servers import S3Server

FIRST, LAST = date(2026, 11, 8), date(2026, 11, 10)
EMPTY = date(2026, 11, 7)
PREFIX = "it's (one) $x, a+b@c"
"""Every kind of sign that a prefix may have and SQL, a shell or an address could stumble over, but for `*`."""
ALL_FIELDS = tuple(field.name for field in RUN_FIELDS)
FORMS: tuple[tuple[FormatVersion, Compression], ...] = (
    ("v1", "none"),
    ("v1", "zstandard"),
    ("v2_beta", "gzip"),
    ("v2_beta", "snappy"),
)


@dataclass(frozen=True)
class Totals:
    """What a number of runs add up to; `usd` is exact."""

    runs: int
    ids: int
    tokens: int
    usd: Decimal


@dataclass
class House:
    """The trace store, the control database, and the exports by format version and compression."""

    folder: Path
    server: S3Server
    bucket: str
    control: ControlDatabase
    project: ProjectRecord
    exports: dict[tuple[FormatVersion, Compression], TableRecord]

    @classmethod
    @contextmanager
    def make(cls, server: S3Server, folder: Path) -> Iterator["House"]:
        """Three days with rows and one without; costs have twelve decimal places, one day has no cost at all."""
        url = f"sqlite:///{folder / 'traces.db'}"
        sample = write_sample(url, projects=1, experiments=0, days=3, runs_per_day=60, last_day=LAST, steady=True)
        control = ControlDatabase(f"sqlite:///{folder / 'control.db'}")
        settings = load_settings(source_url=url, control_url="sqlite:///c", bucket="none")
        with closing(open_source(settings)) as source:
            sync_projects(control, source, settings)
        house = cls(folder, server, server.new_bucket(), control, find_project(control, sample.projects[0].id), {})
        with closing(house.traces()) as traces, traces:
            traces.execute(
                "UPDATE runs SET total_cost = (rowid % 9) || '.' || substr('00000000000' || (rowid * 7919), -12)"
            )
            traces.execute("UPDATE runs SET total_cost = NULL WHERE start_time LIKE ?", (f"{FIRST}%",))
        for version, compression in FORMS:
            house.exports[version, compression] = house.export(format_version=version, compression=compression)
            house.publish(house.exports[version, compression])
        yield house
        control.close()

    def traces(self) -> sqlite3.Connection:
        """The trace store."""
        return sqlite3.connect(self.folder / "traces.db")

    def export(
        self,
        *,
        format_version: FormatVersion,
        compression: Compression = "zstandard",
        fields: tuple[str, ...] = ALL_FIELDS,
    ) -> TableRecord:
        """A table of the project that is still empty; one of the formats lies below a prefix that is hard to quote."""
        return new_export(
            self.control,
            self.bucket,
            project=self.project.project,
            tenant_key=self.project.tenant_key,
            tenant_id=str(self.project.tenant_id),
            session_id=str(self.project.session_id),
            format_version=format_version,
            compression=compression,
            fields=list(fields),
            prefix=PREFIX if format_version == "v2_beta" else "",
            endpoint_url=self.server.endpoint_url,
            region=self.server.region,
        )

    def publish(self, table: TableRecord, *days: date) -> None:
        """Exports days, all four unless named."""
        settings = load_settings(
            source_url=f"sqlite:///{self.folder / 'traces.db'}", control_url="sqlite:///c", bucket=self.bucket
        )
        source, store = open_source(settings), make_store(self.server, self.bucket)
        wanted = days or [EMPTY, *(FIRST + timedelta(days=number) for number in range(3))]
        requests = [DayRequest(table, DayWindow(day, Window.of_day(day)), owner="process:test:1") for day in wanted]
        with closing(source), closing(store):
            found = dict(
                publish_days(Publisher(control=self.control, store=store, source=source, limits=QUICK), requests)
            )
        assert all(isinstance(outcome, DayOutcome) for outcome in found.values()), found

    def table(self, version: FormatVersion, compression: Compression, *, day: date | None = None) -> Table:
        """What statements are made from."""
        (table,), left_out = readable(self.control, [self.exports[version, compression]], day=day)
        assert left_out == []
        return table

    def totals(self, day: date | None = None) -> Totals:
        """What plain SQL says of the trace store, costs added up as whole numbers."""
        query = (
            "SELECT count(*), count(DISTINCT id), coalesce(sum(total_tokens), 0), "
            "coalesce(sum(CAST(replace(total_cost, '.', '') AS INTEGER)), 0) FROM runs WHERE start_time LIKE ?"
        )
        with closing(self.traces()) as traces:
            runs, ids, tokens, usd = traces.execute(query, (f"{day or ''}%",)).fetchone()
        return Totals(runs, ids, tokens, Decimal(usd).scaleb(-12))

    def calls(self) -> dict[str, int]:
        """Calls by model."""
        model = "json_extract(extra, '$.metadata.ls_model_name')"
        query = f"SELECT {model}, count(*) FROM runs WHERE run_type = 'llm' GROUP BY 1"
        with closing(self.traces()) as traces:
            return dict(traces.execute(query).fetchall())

    def with_feedback(self) -> int:
        """Runs that have feedback."""
        with closing(self.traces()) as traces:
            found: int = traces.execute("SELECT count(DISTINCT run_id) FROM feedbacks").fetchone()[0]
        assert found > 0
        return found

    def filled_in(self, text: str) -> str:
        """A statement with credentials in place of what stands for them."""
        return text.replace(KEY_ID, self.server.access_key_id).replace(SECRET, self.server.secret_access_key)

    def mirror(self, table: Table, folder: Path) -> Path:
        """The table's files on disk, for what reads no bucket; gives back the folder that stands for `table.root`."""
        for key in self.server.keys(self.bucket, table.root):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.server.client().get_object(Bucket=self.bucket, Key=key)["Body"].read())
        return folder / table.root
