"""A store that is away while a run works off its days: a few are tried, the others are left for later, none is lost."""

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from export_pipeline.errors import (
    DayReturnedError,
    DestinationUnavailableError,
    ExportPipelineError,
    RetryableError,
    SourceUnreachableError,
)
from export_pipeline.exports.bulk.read import list_bulk_exports
from export_pipeline.exports.bulk.records import BulkExport
from export_pipeline.exports.bulk.worker import Retries, record_results
from export_pipeline.exports.commit.day import DayOutcome
from export_pipeline.exports.commit.publisher import Breaker
from export_pipeline.exports.control.tables import projects
from export_pipeline_tests.exports.bulk.desk import START as START_OF_DESK
from export_pipeline_tests.exports.bulk.desk import Desk
from export_pipeline_tests.exports.bulk.workers import worker_of
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.house import START, House
from export_pipeline_tests.servers import Weed

DAYS = [START + timedelta(days=offset) for offset in range(6)]
AWAY = (
    DestinationUnavailableError("the store answers SlowDown", error_class="Unavailable"),
    SourceUnreachableError("the trace store does not answer"),
)
DONE = DayOutcome("committed", 1, 0, 0, 1, uri=None, manifest_uri="m", epoch=1, commit_id=uuid.UUID(int=1), seconds=0.0)


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Weed) -> BulkHouse:
    """A house with a destination, whose exports have one day under way at once."""
    return BulkHouse(House(tmp_path_factory.mktemp("outage"), seaweedfs), max_runs_per_export="1")


def failing(error: ExportPipelineError, *, times: int) -> tuple[Callable[[str], None], list[str]]:
    """A step hook with which so many days fail once they are claimed, and the days that were claimed."""
    claimed: list[str] = []

    def on_step(name: str) -> None:
        if name == "claimed":
            claimed.append(name)
            if len(claimed) <= times:
                raise error

    return on_step, claimed


def attempts(bulk: BulkHouse, export: BulkExport) -> dict[uuid.UUID, int]:
    return {unit.id: unit.attempt for unit in bulk.units(export.id)}


@pytest.mark.slow
@pytest.mark.parametrize("error", AWAY, ids=["destination", "trace store"])
def test_after_three_days_in_a_row_the_others_are_left_for_the_next_attempt(
    bulk: BulkHouse, error: ExportPipelineError, request: pytest.FixtureRequest
) -> None:
    project = bulk.house.add_project(str(uuid.uuid4()), days=DAYS)
    bulk.house.sync()
    export = bulk.ask(project, days=6)
    on_step, claimed = failing(error, times=99)
    worked = worker_of(bulk.house.settings, on_step=on_step).publish_units(export.id, attempts(bulk, export))
    assert (len(claimed), worked.outcomes) == (3, {"failed": 6})
    units = bulk.units(export.id)
    assert [(unit.status, unit.attempt, unit.first_attempt) for unit in units] == [
        *[("Created", 1, 0)] * 3,
        *[("Created", 1, 1)] * 3,
    ]
    assert [unit.errors["retry_0"] for unit in units[:3]] == [str(error)] * 3
    what = request.node.callspec.id
    wanted = f"not tried, because the {what} was unavailable for 3 days in a row: {error}"
    assert [unit.errors["retry_0"] for unit in units[3:]] == [wanted] * 3
    worker_of(bulk.house.settings, name="2").publish_units(export.id, attempts(bulk, export))
    assert bulk.export(export.id).status == "Completed"
    assert [unit.rows for unit in bulk.units(export.id)] == [3] * 6
    assert len([key for key in bulk.house.data_files() if str(export.id) in key]) == 6


@pytest.mark.slow
def test_a_store_that_comes_back_in_time_costs_no_other_day(bulk: BulkHouse) -> None:
    project = bulk.house.add_project(str(uuid.uuid4()), days=DAYS)
    bulk.house.sync()
    export = bulk.ask(project, days=6)
    on_step, claimed = failing(AWAY[0], times=2)
    worked = worker_of(bulk.house.settings, on_step=on_step).publish_units(export.id, attempts(bulk, export))
    assert (len(claimed), worked.outcomes) == (6, {"failed": 2, "committed": 4})


@pytest.mark.slow
def test_days_of_other_projects_are_left_too_and_days_that_were_never_tried_fail_no_export(bulk: BulkHouse) -> None:
    for number in range(5):
        bulk.house.add_project(f"experiment {number}", days=[START])
    bulk.house.sync()
    bulk.control.run(lambda connection: connection.execute(sa.update(projects).values(is_experiment=True)))
    export = bulk.ask(str(uuid.uuid4()), session_id=None, all_experiments=True)
    known = len(bulk.units(export.id))
    settings = bulk.house.settings.model_copy(update={"max_day_retries": 0})
    on_step, claimed = failing(AWAY[1], times=99)
    worker_of(settings, on_step=on_step).publish_units(export.id, attempts(bulk, export))
    assert known > len(claimed) == 3
    statuses = sorted(unit.status for unit in bulk.units(export.id))
    assert statuses == ["Created"] * (known - 3) + ["Failed"] * 3
    assert [each.status for each in list_bulk_exports(bulk.control, tenant_id=bulk.tenant) if each.id == export.id] == [
        "Running"
    ]


@pytest.mark.parametrize(
    ("results", "tried"),
    [
        ([AWAY[0], AWAY[1], AWAY[0]], False),
        ([AWAY[0], AWAY[0], DONE, AWAY[0], AWAY[0]], True),
        ([AWAY[0], RetryableError("something else"), AWAY[0], AWAY[0]], False),
        ([RetryableError("something else")] * 9, True),
    ],
)
def test_only_stores_that_are_away_count_and_a_day_that_succeeds_begins_anew(
    results: list[DayOutcome | ExportPipelineError], tried: bool
) -> None:
    breaker = Breaker()
    for result in results:
        breaker.note(result if isinstance(result, ExportPipelineError) else None)
    if tried:
        breaker.check()
    else:
        with pytest.raises(DayReturnedError, match=r"the destination was unavailable for 3 days in a row: .*SlowDown"):
            breaker.check()


def test_of_many_attempts_the_latest_errors_are_kept(any_desk: Desk) -> None:
    export = any_desk.ask(end=START_OF_DESK + timedelta(days=1))
    for number in range(60):
        (unit,) = any_desk.units(export.id)
        error = DayReturnedError(f"given back {number}")
        record_results(any_desk.control, export.id, [(unit, error)], retries=Retries(most=0, seconds=0))
    (unit,) = any_desk.units(export.id)
    assert (unit.status, unit.attempt, unit.first_attempt) == ("Created", 60, 60)
    assert unit.errors == {f"retry_{number}": f"given back {number}" for number in range(10, 60)}
