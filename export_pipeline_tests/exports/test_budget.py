"""All workers with one key share what it may be asked, in the control database."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import sqlalchemy as sa

from export_pipeline.exports.budget import SharedBudget, shared_budgets
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import request_budgets
from export_pipeline.exports.projects.sync import sync_projects
from export_pipeline.sources.http.budget import LONGEST_PAUSE
from export_pipeline.sources.protocol import RunSource
from export_pipeline_tests.exports.conftest import MakeSettings
from export_pipeline_tests.servers.http import Answer
from export_pipeline_tests.servers.langsmith import KEY, langsmith
from export_pipeline_tests.sources.langsmith.runs import MIDNIGHT, source_of
from export_pipeline_tests.sources.presets.known_stores import DAY

RATE = 20.0
WORKERS = 10


def test_ten_workers_ask_no_more_often_than_one(any_control: ControlDatabase) -> None:
    url = any_control.url.render_as_string(hide_password=False)

    def ask(_: int) -> list[tuple[int, bool]]:
        """The database's time of each turn that a worker of its own is told."""
        with closing(ControlDatabase(url)) as control:
            budget, found = SharedBudget(control, "key"), []
            for _ in range(12):
                turn = budget.take(RATE)
                # What is asked for after the turn is told cannot be before it.
                found.append((control.now() + round(turn.seconds * 1_000_000), turn.given))
            return found

    began = any_control.now()
    with ThreadPoolExecutor(WORKERS) as pool:
        given = [at for turns in pool.map(ask, range(WORKERS)) for at, is_given in turns if is_given]
    seconds = (any_control.now() - began) / 1_000_000

    # A second's worth at once, a second's worth ahead, and what the time allows.
    assert RATE <= len(given) <= RATE * (seconds + 2) + 2
    assert all(at <= began + (seconds + 2) * 1_000_000 for at in given)
    with any_control.read() as transaction:
        counted = transaction.execute(sa.select(request_budgets.c.requests + request_budgets.c.before)).scalar_one()
    assert counted == len(given)


def test_what_one_worker_is_told_all_keep_to(any_control: ControlDatabase) -> None:
    first, second = (shared_budgets(any_control)("key") for _ in range(2))
    other = shared_budgets(any_control)("another key")
    assert second.usage().refused_at is None

    first.pause(LONGEST_PAUSE)

    turn = second.take(RATE)
    assert not turn.given
    assert LONGEST_PAUSE / 2 < turn.seconds <= LONGEST_PAUSE
    assert other.take(RATE).given
    assert second.usage().refused_at is not None
    assert other.usage().refused_at is None


def test_a_process_has_its_own_budget_until_there_is_a_control_database(
    empty_url: str, make_settings: MakeSettings
) -> None:
    """The first sync reads the projects before it makes the control database."""
    with langsmith() as server, closing(ControlDatabase(empty_url)) as control:
        project = server.add_project("chat", start=MIDNIGHT)
        with closing(source_of(server, shared_budgets(control))) as source:
            report = sync_projects(control, source, make_settings(start_date=DAY))
            assert (report.added, source.check().projects) == (("chat",), 1)
        with control.read() as transaction:
            assert transaction.execute(sa.select(request_budgets)).all() == []
        with closing(source_of(server, shared_budgets(control))) as source:
            assert [each.key for each in source.projects()] == [project]
        with control.read() as transaction:
            assert transaction.execute(sa.select(request_budgets.c.requests + request_budgets.c.before)).scalar() == 2


def test_sources_count_their_requests_together_and_tell_no_key(control: ControlDatabase) -> None:
    with langsmith() as server:
        sources = [source_of(server, shared_budgets(control)) for _ in range(3)]
        assert server.server is not None
        server.play("/sessions", lambda asked, answer: Answer(429, headers={"Retry-After": "0"}))
        for source in sources:
            with closing(source):
                assert source.projects() == []
        with control.read() as transaction:
            (row,) = transaction.execute(sa.select(request_budgets)).mappings().all()

        assert row["requests"] + row["before"] == len(server.server.asked) == 3 + 3 + 1
        assert row["refused_at"] is not None
        assert KEY not in str(row)


def test_the_check_says_how_near_the_limit_is(control: ControlDatabase) -> None:
    def usage(source: RunSource) -> str:
        with closing(source):
            return source.check().usage or ""

    with langsmith() as server:
        budgets = shared_budgets(control)
        assert usage(source_of(server, budgets, source_rate=None)).endswith("none was refused for being too many")
        server.has_v2 = False
        server.play("/sessions", lambda asked, answer: Answer(429))
        told = usage(source_of(server, budgets, source_rate=None))

    assert "of the 75 that all workers with this key may make" in told
    assert "the last one that was refused for being too many: 20" in told
