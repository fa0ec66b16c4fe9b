"""What the SQL trace stores have in common: a `RunSource` over sessions."""

import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from export_pipeline.errors import SourceUnusableError
from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.schema import RUN_FIELDS
from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.sources.allocator import give_back_large_buffers
from export_pipeline.sources.presets.choose import NAMES, Choice
from export_pipeline.sources.presets.store import Tables
from export_pipeline.sources.protocol import (
    UNASSIGNED,
    DayFingerprint,
    OutsideRows,
    Project,
    ProjectKey,
    RunSnapshot,
    RunSource,
    SourceReport,
    UnassignedRows,
)
from export_pipeline.sources.sql.connection_limit import ConnectionLimit
from export_pipeline.sources.sql.dialect import Dialect
from export_pipeline.sources.sql.failing import ExpressionError
from export_pipeline.sources.sql.filter_words import FilterWords
from export_pipeline.sources.sql.plan import Catalog, Plan, make_plan
from export_pipeline.sources.sql.projects import read_projects, read_unassigned
from export_pipeline.sources.sql.queries import RunQueries
from export_pipeline.sources.sql.read_ahead import READ_AHEAD_BYTES, ReadAhead
from export_pipeline.sources.sql.session_thread import SessionThread
from export_pipeline.sources.sql.times import clamp

ALL_TIME = Window(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))

FIRST_DAY = date(1970, 1, 1)
PATIENCE = 1800.0
"""How long any answer is waited for, in seconds, where the settings say nothing."""
T = TypeVar("T")
_START_COLUMN = [field.name for field in RUN_FIELDS].index("start_time")


Counted = tuple[int, int | None, int | None, int | None]
"""How many rows; where the store tells: the instant of their newest change, how many with the superseded, a digest."""


class Reading(Protocol):
    """The rows of one window in one session."""

    @property
    def counted(self) -> Counted:
        """What `RunQueries.fingerprint` asks of the rows.

        May ask the store: not while `batches` is under way.
        """

    @property
    def records(self) -> tuple[int, int | None] | None:
        """How many records of feedback those rows have, and the instant of the newest change; None without feedback.

        May ask the store, as `counted` may.
        """

    def batches(self) -> Generator[pa.RecordBatch]:
        """The rows that count, in order, in raw batches of a few MB."""


class Session(Protocol):
    """One read-only transaction, in which everything is read as it was at its first query.

    Its methods raise only `SourceUnusableError` and `SourceUnreachableError`.
    """

    definition: Hashable
    """Another one where the tables, as this session sees them, are not those that a plan was made from."""

    def bind(self, values: Sequence[str | int]) -> None:
        """Makes a filter's values known to the queries that follow (`FilterWords.bound`), numbered from 1."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a small query; instants as microseconds since 1970."""

    def failure(self, sql: str) -> ExpressionError | None:
        """How a small query fails on the values that it meets; the session stays usable."""
        try:
            self.rows(sql)
        except ExpressionError as error:
            return error
        return None

    def read(self, queries: RunQueries, window: Window, fields: Collection[str] | None) -> Reading:
        """Makes ready to read the rows of the window; once in a session."""

    def confirm(self) -> None:
        """To be called after the last read: raises where the snapshot may have seen too little of a table.

        A snapshot that is older than a table's present file sees none of its rows.
        """

    def cancel(self) -> None:
        """Makes what is under way stop; may come from another thread."""

    def close(self) -> None:
        """Ends the transaction and the connection."""


class SqlSource(RunSource, ABC):
    """A `RunSource` in a SQL database."""

    def __init__(
        self,
        *,
        choice: Choice,
        dialect: Dialect,
        words: FilterWords | None,
        place: str,
        unassigned: str | None,
        workspace: uuid.UUID | None,
        patience: float,
    ) -> None:
        """`choice` is the mapping, and how it was chosen.

        `unassigned` names the project that the rows of no project are; without a name there is none.

        `workspace` is the tenant of what names none; `patience` how long any answer is waited for, in seconds.
        """
        self.choice, mapping = choice, choice.mapping
        self.epoch_unit: EpochUnit = mapping.epoch_unit
        self._mapping, self._dialect, self._words, self._place = mapping, dialect, words, place
        self._unassigned, self._workspace = unassigned, "" if workspace is None else str(workspace)
        self._patience = patience
        self._connections = ConnectionLimit()
        self._lock = threading.Lock()
        self._known: tuple[Hashable, Plan] | None = None
        give_back_large_buffers()

    @abstractmethod
    def _begin(self, project: ProjectKey | None) -> Session:
        """A new session; `project` is the key that its queries ask for."""

    @abstractmethod
    def _connected(self) -> Session:
        """A new session for no query; waits for no lock."""

    @abstractmethod
    def _catalog(self, session: Session) -> Catalog:
        """The catalog, read in the session."""

    @abstractmethod
    def _release(self) -> None:
        """Called when the source is closed and its last session ended."""

    @contextmanager
    def _session(self, project: ProjectKey | None = None) -> Iterator[SessionThread[Session]]:
        try:
            with self._connections.take():
                thread = SessionThread(lambda: self._begin(project), seconds=self._patience, place=self._place)
                try:
                    yield thread
                finally:
                    thread.close()
        except ExpressionError as error:
            if not self._has_expressions:
                raise
            advice = "export-pipeline source check tries the mapping's expressions"
            raise SourceUnusableError(f"{error}; {advice}") from None
        finally:
            if self._connections.deserted:
                self._release()

    @property
    def _has_expressions(self) -> bool:
        runs = None if self._known is None else self._known[1].runs
        return runs is not None and not runs.plain

    def _answer(
        self, work: Callable[[Session], T], project: ProjectKey | None = None, *, seconds: float | None = None
    ) -> T:
        """What a session answers to a few questions, confirmed; `seconds` is how long all of them may take."""

        def confirmed(session: Session) -> T:
            answer = work(session)
            session.confirm()
            return answer

        with self._session(project) as thread:
            return thread.ask(confirmed, seconds=seconds)

    def _plan(self, session: Session) -> Plan:
        with self._lock:
            if self._known is None or self._known[0] != session.definition:
                plan = self._made_plan(session)
                if plan.problems:
                    return plan
                self._known = session.definition, plan
            return self._known[1]

    def _made_plan(self, session: Session) -> Plan:
        return make_plan(self._mapping, self._catalog(session), self._dialect, workspace=self._workspace)

    def _queries(self, session: Session, project: ProjectKey, tree: Filter | None = None) -> RunQueries:
        queries = self._made_queries(self._plan(session), project, tree)
        if queries.matching is not None:
            session.bind(queries.matching.values)
        return queries

    def _made_queries(self, plan: Plan, project: ProjectKey, tree: Filter | None) -> RunQueries:
        return RunQueries(plan, project, tree=tree, words=self._words)

    def connect(self) -> Tables:
        """Opens and closes one session, so that a wrong URL is told at once; which of the known tables there are."""
        with self._connections.take():
            thread = SessionThread(self._connected, seconds=self._patience, place=self._place)
            try:
                return thread.ask(lambda session: self._catalog(session).tables(NAMES))
            finally:
                thread.close()

    @override
    def check(self) -> SourceReport:
        from export_pipeline.sources.sql.check import report

        def reported(session: Session) -> SourceReport:
            plan = self._made_plan(session)
            return report(plan, session, choice=self.choice, place=self._place, unassigned=self._unassigned)

        with self._session() as thread:
            return thread.ask(reported)

    @override
    def projects(self) -> list[Project]:
        plan, listed = self._answer(self._projects)
        if self._unassigned is None:
            return listed
        says_whose = plan.runs is not None and plan.runs.tenant is not None
        tenant_key = self._workspace if says_whose else self._mapping.tenant
        return [*listed, Project(UNASSIGNED, self._unassigned, tenant_key=tenant_key or None)]

    def _projects(self, session: Session) -> tuple[Plan, list[Project]]:
        plan = self._plan(session)
        return plan, read_projects(plan, session.rows)

    @override
    def days(
        self,
        project: ProjectKey,
        window: Window | None = None,
        *,
        filter: Filter | None = None,
        seconds: float | None = None,
    ) -> dict[date, DayFingerprint]:

        def counted(session: Session) -> dict[date, DayFingerprint]:
            return self._days(session, self._queries(session, project, filter), window or ALL_TIME)

        return self._answer(counted, project, seconds=seconds)

    def _days(self, session: Session, queries: RunQueries, window: Window) -> dict[date, DayFingerprint]:
        kept = {day: counted for day, *counted in session.rows(queries.days(window))}
        totals_sql = queries.totals(window)
        totals = dict(session.rows(totals_sql)) if totals_sql is not None else {}
        feedback_sql = queries.feedback(window, by_day=True)
        feedback = None
        if feedback_sql is not None:
            feedback = {day: (count, newest) for day, count, newest in session.rows(feedback_sql)}
        days = {}
        for number in sorted(kept.keys() | totals.keys()):
            rows, newest, digest = kept.get(number, (0, None, None))
            records = None if feedback is None else feedback.get(number, (0, None))
            fingerprint = fingerprint_of((rows, newest, totals.get(number), digest), records)
            days[FIRST_DAY + timedelta(days=number)] = fingerprint
        return days

    @override
    def changed(
        self,
        project: ProjectKey,
        window: Window,
        since: datetime,
        *,
        filter: Filter | None = None,
    ) -> int | None:

        def counted(session: Session) -> int | None:
            return self._changed(session, self._queries(session, project, filter), window, since)

        return self._answer(counted, project)

    def _changed(self, session: Session, queries: RunQueries, window: Window, since: datetime) -> int | None:
        sql = queries.changed(window, since)
        return None if sql is None else session.rows(sql)[0][0]

    @override
    def outside(self, project: ProjectKey, window: Window) -> OutsideRows:

        def counted(session: Session) -> OutsideRows:
            queries = self._queries(session, project)
            before, after, unreadable = (session.rows(sql)[0][0] for sql in queries.outside(window))
            return OutsideRows(before=before, after=after, unreadable=unreadable)

        return self._answer(counted, project)

    @override
    def unassigned(self) -> UnassignedRows:
        return self._answer(
            lambda session: read_unassigned(self._queries(session, ProjectKey(UNASSIGNED)), session.rows)
        )

    @contextmanager
    def _snapshot(
        self, project: ProjectKey, window: Window, fields: Collection[str] | None, tree: Filter | None
    ) -> Iterator[RunSnapshot]:
        with self._session(project) as thread:
            limit = READ_AHEAD_BYTES // self._connections.taken  # days that are read side by side share it

            def begun(session: Session) -> "SqlSnapshot":
                reading = session.read(self._queries(session, project, tree), window, fields)
                return SqlSnapshot(thread, session, reading=reading, limit=limit)

            snapshot = thread.ask(begun)
            try:
                yield snapshot
            finally:
                snapshot.close()

    @override
    def open(
        self,
        project: ProjectKey,
        window: Window,
        fields: Collection[str] | None = None,
        *,
        filter: Filter | None = None,
    ) -> AbstractContextManager[RunSnapshot]:
        return self._snapshot(project, window, fields, filter)

    @override
    def close(self) -> None:
        """What is being read is read to its end."""
        self._connections.close()
        if self._connections.deserted:
            self._release()


class SqlSnapshot(RunSnapshot):
    """A window's rows, read by the session's thread."""

    def __init__(self, thread: SessionThread[Session], session: Session, *, reading: Reading, limit: int) -> None:
        """`limit`: the bytes that may be read ahead."""
        self._thread, self._session, self._limit, self._reading = thread, session, limit, reading
        self._ahead: ReadAhead | None = None
        self._fingerprint: DayFingerprint | None = None

    @property
    @override
    def fingerprint(self) -> DayFingerprint:
        if self._fingerprint is None:
            if self._ahead is not None:
                raise RuntimeError("a snapshot's fingerprint is told before its batches are begun or after their end")
            self._fingerprint = self._thread.ask(lambda _: self._count())
        return self._fingerprint

    @override
    def batches(self) -> Iterator[pa.RecordBatch]:
        if self._ahead is not None:
            raise RuntimeError("the batches of a snapshot are read once")
        self._ahead = ReadAhead(self._read(), thread=self._thread, limit=self._limit)
        return _in_order(self._ahead)

    def _read(self) -> Generator[pa.RecordBatch]:
        """The rows, and only then the count, by the session's thread: the consumer still has work to do."""
        yield from self._reading.batches()
        if self._fingerprint is None:
            self._fingerprint = self._count()
        self._session.confirm()

    def _count(self) -> DayFingerprint:
        return fingerprint_of(self._reading.counted, self._reading.records)

    def close(self) -> None:
        """Stops reading; nothing is read afterwards."""
        if self._ahead is not None:
            self._ahead.close()


def counted_records(rows: Callable[[str], list[tuple[Any, ...]]], sql: str | None) -> tuple[int, int | None] | None:
    """`Reading.records` where a query of its own (`RunQueries.feedback`) counts them; None without one."""
    if sql is None:
        return None
    ((records, newest),) = rows(sql)
    return records, newest


def _in_order(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, checked: a store that hands rows over unordered must not get into a file that claims order."""
    last: int | None = None
    for batch in batches:
        if batch.num_rows == 0:
            continue
        starts = batch.column(_START_COLUMN).cast(pa.int64())
        falls = pc.any(pc.less(starts[1:], starts[:-1])).as_py()
        if falls or (last is not None and starts[0].as_py() < last):
            raise SourceUnusableError("the trace store gave rows that are not ordered by start_time")
        last = starts[-1].as_py()
        yield batch
        del batch


def fingerprint_of(counted: Counted, feedback: tuple[Any, ...] | None) -> DayFingerprint:
    """The fingerprint of what was counted (`Reading.counted`, `Reading.records`)."""
    rows, newest, total, digest = counted
    records, newest_record = feedback or (None, None)
    return DayFingerprint(
        rows=rows,
        max_modified_at=None if newest is None else clamp(newest),
        feedbacks=records,
        max_feedback_modified_at=None if newest_record is None else clamp(newest_record),
        superseded=0 if total is None else total - rows,
        digest=None if digest is None else digest % 2**53,  # what every reader of JSON takes for an integer
    )
