"""Attachments by the settings: in standing and in bulk exports, checked by `verify`."""

import hashlib
import json

import duckdb
import pytest

from export_pipeline.settings import PREFIX
from export_pipeline_tests.cli.command import run
from export_pipeline_tests.exports.bulk.workers import worker_of
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.house import House, instance_of, materialize
from export_pipeline_tests.servers.langsmith import TENANT, LangSmith
from export_pipeline_tests.sources.langsmith.runs import MIDNIGHT
from export_pipeline_tests.sources.presets.known_stores import DAY

pytestmark = pytest.mark.slow

PHOTO = b"a photo"
DIGEST = hashlib.sha256(PHOTO).hexdigest()


def project_with_a_photo(server: LangSmith) -> str:
    """A project with one run, which has one attachment."""
    server.storage = f"http://127.0.0.1:{server.port}"
    project = server.add_project("chat", start=MIDNIGHT)
    server.files[server.add_run(project, MIDNIGHT, attachments={"photo": "image/png"}), "photo"] = PHOTO
    return project


def named_in(house: House, key: str) -> list[dict[str, object]]:
    """The attachments that the one run of a file names."""
    house.server.client().download_file(house.bucket, key, str(house.folder / "day.parquet"))
    with duckdb.connect() as connection:
        ((extra,),) = connection.execute(f"SELECT extra FROM '{house.folder / 'day.parquet'}'").fetchall()
    found: list[dict[str, object]] = json.loads(extra)["attachments"]
    return found


def copied_in(house: House) -> list[str]:
    """The keys of the attachments in the bucket."""
    keys = house.keys()
    return [key for key in keys if "attachments/" in key]


def key_of(project: str, prefix: str = "") -> str:
    return f"{prefix}attachments/tenant_id={TENANT}/session_id={project}/{DIGEST[:2]}/{DIGEST}"


def entry_of(key: str) -> dict[str, object]:
    return {"name": "photo", "mime_type": "image/png", "key": key, "sha256": DIGEST, "size": len(PHOTO)}


def test_a_standing_export_copies_attachments_and_verify_misses_one(server: LangSmith, house: House) -> None:
    project = project_with_a_photo(server)
    house.variables[PREFIX + "EXPORT_ATTACHMENTS"] = "true"
    house.sync()
    with instance_of(house.folder) as instance:
        assert materialize(house.definitions(), instance, "chat", first=DAY).success
    key = key_of(project)
    (file,) = house.data_files()
    assert named_in(house, file) == [entry_of(key)]
    assert copied_in(house) == [key]

    settings = {name.removeprefix(PREFIX): value for name, value in house.variables.items()}
    assert run("verify", "--deep", folder=house.folder, settings=settings).status == 0
    house.server.client().delete_object(Bucket=house.bucket, Key=key)
    lost = run("verify", folder=house.folder, settings=settings)
    assert (lost.status, "an attachment is missing" in lost.err, key in lost.err) == (1, True, True), lost.err


def test_bulk_exports_of_a_destination_share_their_attachments(server: LangSmith, house: House) -> None:
    project = project_with_a_photo(server)
    bulk = BulkHouse(house, tenant_id=TENANT, export_attachments="true")
    house.sync()
    key, written = key_of(project, "lake/"), []
    for _ in range(2):
        export = bulk.ask(project, first=DAY)
        worker_of(house.settings).publish_units(export.id, {unit.id: unit.attempt for unit in bulk.units(export.id)})
        assert bulk.export(export.id).status == "Completed"
        (file,) = [file for file in house.data_files() if str(export.id) in file]
        assert named_in(house, file) == [entry_of(key)]
        head = house.server.client().head_object(Bucket=house.bucket, Key=key)
        written.append((head["LastModified"], head["ETag"]))
    assert written[0] == written[1]
    assert copied_in(house) == [key]
