"""The S3 IO manager when it writes: bad days among good ones, retries, interruptions."""

from datetime import date, timedelta

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.exports.commit.new_commit import NewCommit
from export_pipeline.exports.commit.publisher import PublishLimits
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.orchestration.assets import asset_key
from export_pipeline.settings import PREFIX
from export_pipeline_tests.orchestration.house import START, House, failure_text, materialize, materialized

pytestmark = pytest.mark.slow

SECOND, THIRD, FOURTH = (START + timedelta(days=number) for number in (1, 2, 3))


def days_of_run(instance: dg.DagsterInstance, run_id: str) -> set[str | None]:
    """The days that one run recorded as materialized."""
    records = instance.fetch_materializations(asset_key("chat"), limit=100).records
    return {record.partition_key for record in records if record.event_log_entry.run_id == run_id}


def retries(instance: dg.DagsterInstance, run_id: str) -> int:
    return len(instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY))


def test_only_the_bad_day_of_a_range_is_red(house: House, instance: dg.DagsterInstance) -> None:
    project = house.add_project("chat", days=[START, SECOND, THIRD])
    house.sync()
    definitions = house.definitions()
    assert materialize(definitions, instance, "chat", first=SECOND).success
    house.delete_runs(project, SECOND)
    result = materialize(definitions, instance, "chat", first=START, last=FOURTH)
    assert not result.success
    text = failure_text(instance, result.run_id)
    assert "1 of 4 days of project 'chat' failed: 2026-03-02: the trace store now gives 0 rows, 3 are committed" in text
    assert days_of_run(instance, result.run_id) == {"2026-03-01", "2026-03-03", "2026-03-04"}
    assert len(house.data_files()) == 3


def test_a_permanent_error_is_not_retried(house: House, instance: dg.DagsterInstance) -> None:
    project = house.add_project("chat", days=[START])
    house.sync()
    definitions = house.definitions()
    assert materialize(definitions, instance, "chat", first=START).success
    house.delete_runs(project, START)
    result = materialize(definitions, instance, "chat", first=START)
    assert not result.success
    assert retries(instance, result.run_id) == 0


def test_fewer_rows_are_taken_where_the_launch_allows_it(house: House, instance: dg.DagsterInstance) -> None:
    project = house.add_project("chat", days=[START])
    house.sync()
    definitions = house.definitions()
    assert materialize(definitions, instance, "chat", first=START).success
    house.delete_runs(project, START)
    allowed = {"ops": {"runs__chat": {"config": {"allow_shrink": True}}}}
    assert materialize(definitions, instance, "chat", first=START, run_config=allowed).success
    assert materialized(instance, "chat")["2026-03-01"]["dagster/partition_row_count"] == 0
    assert house.data_files() == []


def test_an_error_that_may_pass_is_retried_and_told(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    definitions = house.definitions()
    control = house.folder / "control.db"
    control.rename(house.folder / "control.away")
    result = materialize(definitions, instance, "chat", first=START)
    assert not result.success
    assert retries(instance, result.run_id) == 1
    assert "the control database" in failure_text(instance, result.run_id)
    assert house.keys() == []


def test_a_missing_bucket_fails_with_the_setting_s_name_and_without_any_secret(
    house: House, instance: dg.DagsterInstance
) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    house.variables[PREFIX + "BUCKET"] = "no-such-bucket"
    result = materialize(house.definitions(), instance, "chat", first=START)
    assert not result.success
    assert PREFIX + "BUCKET" in failure_text(instance, result.run_id)
    stored = "".join(dg.serialize_value(entry) for entry in instance.all_logs(result.run_id))
    assert house.server.secret_access_key not in stored
    assert house.server.access_key_id not in stored


def test_a_terminated_run_aborts_its_upload_and_keeps_what_it_had_committed(
    house: House, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add_project("chat", days=[START, SECOND])
    house.sync()
    definitions = house.definitions()
    whole_days = NewCommit.run

    def interrupted_on_the_second(export: NewCommit, source: object) -> object:
        if export._day.day == SECOND:
            raise DagsterExecutionInterruptedError
        return whole_days(export, source)  # type: ignore[arg-type]

    monkeypatch.setattr(NewCommit, "run", interrupted_on_the_second)
    result = materialize(definitions, instance, "chat", first=START, last=SECOND)
    assert not result.success
    assert retries(instance, result.run_id) == 0
    assert days_of_run(instance, result.run_id) <= {"2026-03-01"}
    monkeypatch.undo()
    assert materialize(definitions, instance, "chat", first=START, last=SECOND).success
    assert len(house.data_files()) == 2
    uploads = house.server.client().list_multipart_uploads(Bucket=house.bucket)
    assert uploads.get("Uploads", []) == []


def test_days_after_three_for_which_the_store_was_away_are_left_for_the_next_attempt(
    house: House, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [START + timedelta(days=offset) for offset in range(6)]
    house.add_project("chat", days=days)
    house.sync()
    definitions = house.definitions()
    tried: list[date] = []
    whole_days, limits = NewCommit.run, PublishLimits(side_by_side=1)

    def away_for_three_days(export: NewCommit, source: object) -> object:
        tried.append(export._day.day)
        if len(tried) <= 3:
            raise SourceUnreachableError("gone")
        return whole_days(export, source)  # type: ignore[arg-type]

    monkeypatch.setattr(NewCommit, "run", away_for_three_days)
    monkeypatch.setattr(PublishLimits, "from_settings", lambda _settings: limits)
    result = materialize(definitions, instance, "chat", first=days[0], last=days[-1])
    assert (result.success, retries(instance, result.run_id)) == (True, 1)
    assert tried == [*days[:3], *days]
    assert len(house.data_files()) == 6
    logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    untried = [f"{day} failed: not tried, because the trace store was unavailable for 3 days" for day in days[3:]]
    assert all(any(line in message for message in logged) for line in untried)


def test_values_of_other_assets_are_refused_with_a_sentence(house: House, instance: dg.DagsterInstance) -> None:
    @dg.asset(io_manager_key="day_files")
    def mine() -> int:
        return 1

    definitions = house.definitions(projects=[], extra_assets=[mine])
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    assert "mine gave a int to the IO manager of the day files" in failure_text(instance, result.run_id)


def test_projects_without_rows_cost_no_s3_call_for_each_day(
    house: House, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A joint backfill of 8 projects and 31 days, 248 days without a row."""
    for number in range(8):
        house.add_project(f"p{number}", days=[])
    house.sync()
    stores: list[S3Store] = []
    make = S3Store.__init__

    def remember(store: S3Store, *arguments: object, **options: object) -> None:
        make(store, *arguments, **options)  # type: ignore[arg-type]
        stores.append(store)

    monkeypatch.setattr(S3Store, "__init__", remember)
    names = [project.asset_name for project in house.projects()]
    last = date(2026, 3, 31)
    result = materialize(house.definitions(), instance, *names, first=START, last=last)
    assert result.success
    assert len(instance.get_materialized_partitions(asset_key("p7"))) == 31
    assert sum(sum(store.requests.values()) for store in stores) <= 8 * 4
    assert house.data_files() == []
