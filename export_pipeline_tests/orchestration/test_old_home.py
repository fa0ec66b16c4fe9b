"""A home that the version before has left: control database, Dagster home and bucket, recorded on 2026-11-29.

`recorded/home-0.1.0.tar.xz` holds a project with three rows on each of two days, published by an asset, and the decided
commit of two days without rows, whose worker died before it was carried out.
"""

import tarfile
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.exports.control.tables import days, exports
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.exports.proof.verify.export import verify_export
from export_pipeline.orchestration.assets import asset_key
from export_pipeline.orchestration.instance.event_log import KeptEventLogStorage
from export_pipeline.orchestration.instance.launcher import WatchedRunLauncher
from export_pipeline.orchestration.resources import Connections
from export_pipeline_tests.orchestration.house import START, House, instance_of, materialize, materialized
from export_pipeline_tests.servers import Rclone

pytestmark = pytest.mark.slow

RECORDED = Path(__file__).parent / "recorded" / "home-0.1.0.tar.xz"
TABLE = uuid.UUID("89a7aaa4-81f8-4c48-bd1e-fcf9ef79d057")
DAYS = [START + timedelta(days=number) for number in range(4)]


@pytest.fixture
def old(tmp_path: Path, rclone: Rclone) -> House:
    """The home, its bucket on this server, after `export-pipeline migrate`."""
    with tarfile.open(RECORDED) as recorded:
        recorded.extractall(tmp_path, filter="data")
    house = House(tmp_path, rclone)
    root = tmp_path / "bucket"
    for file in sorted(root.rglob("*.*")):
        rclone.client().put_object(Bucket=house.bucket, Key=str(file.relative_to(root)), Body=file.read_bytes())
    house.control.migrate()
    with house.control.begin() as transaction:  # the server's address is all that has changed
        transaction.execute(sa.update(exports).values(bucket=house.bucket, endpoint_url=rclone.endpoint_url))
    return house


def test_a_home_of_the_version_before_goes_on_where_it_was(old: House) -> None:
    instance = instance_of(old.folder / "dagster")
    assert (type(instance.run_launcher), type(instance.event_log_storage)) == (WatchedRunLauncher, KeptEventLogStorage)
    assert instance.get_materialized_partitions(asset_key("chat")) == {"2026-03-01", "2026-03-02"}
    before = {key: old.server.client().head_object(Bucket=old.bucket, Key=key)["ETag"] for key in old.data_files()}
    assert len(before) == 2
    assert materialize(old.definitions(), instance, "chat", first=DAYS[0], last=DAYS[-1]).success
    outcomes = {day: metadata["outcome"] for day, metadata in materialized(instance, "chat").items()}
    assert outcomes == {
        "2026-03-01": "unchanged",
        "2026-03-02": "unchanged",
        "2026-03-03": "unchanged",
        "2026-03-04": "unchanged",
    }
    after = {key: old.server.client().head_object(Bucket=old.bucket, Key=key)["ETag"] for key in old.data_files()}
    assert after == before
    instance.dispose()


def test_what_the_version_before_had_decided_on_is_carried_out(old: House, tmp_path: Path) -> None:
    project = old.projects()[0]
    with old.control.read() as transaction:
        decided = transaction.execute(sa.select(days.c.day).where(days.c.intent.is_not(None)).order_by(days.c.day))
        assert list(decided.scalars()) == DAYS[2:]
    old.add_runs(old.project("chat"), DAYS[3], runs=5)
    assert materialize(
        old.definitions(), instance_of(tmp_path / "dagster"), "chat", first=DAYS[2], last=DAYS[3]
    ).success
    connections = Connections(settings=old.settings)
    table = standing_table(connections.control, project, old.settings)
    report = verify_export(
        table, store=connections.store, control=connections.control, source=connections.source, deep=True
    )
    connections.close()
    assert (table.export_id, report.ok, report.counts.rows) == (TABLE, True, 3 + 3 + 5)
