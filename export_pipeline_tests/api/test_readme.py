"""The README's curl commands, as LangSmith's page has them, from making a destination to reading the files."""

import json
import re
from pathlib import Path
from typing import Any

import chdb
import dagster as dg
import duckdb
import pytest

from export_pipeline.api import create_app
from export_pipeline.exports.destinations import stored as destinations
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.check import Capabilities
from export_pipeline_tests.api.house import PROJECT, TENANT, House
from export_pipeline_tests.api.serving import Answer, curl, curl_commands, served, work_off

README = (Path(__file__).parents[2] / "README.md").read_text()
EXAMPLE_DESTINATION = "0d5ac1d2-5a6f-4a0e-8c1b-3b6c2f1f7d10"
EXAMPLE_EXPORT = "c5f5cbd0-2f7c-4d2f-9d0b-7a3f1f6f2e55"
ROWS = 6


def between(mark: str) -> str:
    """The part of the README between two marks."""
    found = re.search(rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", README, re.DOTALL)
    assert found is not None
    return found[1]


class Page:
    """The README's commands for one house; ids are filled in once they are known."""

    def __init__(self, house: House, address: str) -> None:
        access_key_id, secret = house.server.identity("admin")
        self.values = {
            "http://127.0.0.1:8000": address,
            "epk_YOUR_API_KEY": house.key(),
            "5f0c1c5e-6a5b-4c1d-9f3e-0b7e6d2a4c11": str(TENANT),
            "YOUR_S3_ACCESS_KEY_ID": access_key_id,
            "YOUR_S3_SECRET_ACCESS_KEY": secret,
            "https://s3.example.com": house.server.endpoint_url,
            "my-bucket": house.bucket,
            "11111111-2222-4333-8444-555555555555": str(PROJECT),
        }

    @property
    def commands(self) -> list[str]:
        """All of them, in order."""
        return curl_commands(between("curl"), self.values)

    def ask(self, number: int) -> Any:
        """The answer to a command, which must be a good one."""
        answer = curl(self.commands[number])
        assert answer.status == 200, answer.text
        return json.loads(answer.text)


@pytest.mark.slow
def test_the_commands_make_an_export_whose_rows_clickhouse_and_duckdb_read(any_house: House, tmp_path: Path) -> None:
    house = any_house
    with served(create_app(house.settings, house.control)) as address, dg.DagsterInstance.ephemeral() as instance:
        page = Page(house, address)
        assert len(page.commands) == 8
        page.values[EXAMPLE_DESTINATION] = page.ask(0)["id"]
        page.values[EXAMPLE_EXPORT] = page.ask(3)["id"]
        assert page.ask(4)["status"] == "Created"
        assert work_off(house.settings, instance) == 1
        done = page.ask(4)
        assert (done["status"], done["finished_at"] is not None) == ("Completed", True)
        assert done["progress"] == {
            "percent": 100.0,
            "days_total": 2,
            "days_done": 2,
            "rows_written": ROWS,
            "rows_planned": ROWS,
            "rows_rejected": 0,
            "rejected": {},
            "bytes_written": done["progress"]["bytes_written"],
            "estimated_finish": done["finished_at"],
        }
        runs = page.ask(5)
        assert [(run["status"], run["metadata"]["result"]["rows_written"]) for run in runs] == [("Completed", 3)] * 2
        assert [export["id"] for export in page.ask(6)] == [done["id"]]
        assert curl(page.commands[7]).status == 409
        _changes_and_manifests_tell_the_same(house, done["id"], runs)
    files = _files(house, page.values[EXAMPLE_EXPORT])
    assert [f"{house.bucket}/{key}" for key in files] == [
        file for run in runs for file in run["metadata"]["result"]["exported_files"]
    ]
    clickhouse, in_duckdb = _queries(page)
    answer: Any = chdb.query(clickhouse, "TabSeparated")  # type: ignore[no-untyped-call]
    assert answer.bytes().decode().strip() == str(ROWS)
    assert _duckdb(in_duckdb, house, tmp_path) == [(ROWS,)]


def _changes_and_manifests_tell_the_same(house: House, export: str, runs: list[Any]) -> None:
    client = house.client("bulk-exports:read")
    here = f"/api/v1/bulk-exports/{export}"
    first = client.get(f"{here}/changes?limit=1").json()
    rest = client.get(f"{here}/changes", params={"cursor": first["cursor"]}).json()
    listed = [*first["changes"], *rest["changes"]]
    assert sorted(change["uri"] for change in listed) == [
        f"s3://{file}" for run in runs for file in run["metadata"]["result"]["exported_files"]
    ]
    assert client.get(f"{here}/changes", params={"cursor": rest["cursor"]}).json()["changes"] == []
    assert client.get(f"{here}/changes?cursor=1-00000000").status_code == 422
    by_day = {change["day"]: change for change in listed}
    for run in runs:
        manifest = client.get(f"{here}/runs/{run['id']}/manifest")
        key = by_day[manifest.json()["day"]]["manifest_uri"].removeprefix(f"s3://{house.bucket}/")
        stored = house.server.client().get_object(Bucket=house.bucket, Key=key)["Body"].read()
        assert manifest.content == stored


def _files(house: House, export: str) -> list[str]:
    return house.server.keys(house.bucket, f"data_exports/export_id={export}/")


def _queries(page: Page) -> list[str]:
    text = between("bulk-queries")
    for example, value in page.values.items():
        text = text.replace(example, value)
    return [query.strip() for query in text.replace("```sql", "").replace("```", "").split(";") if query.strip()]


def _duckdb(query: str, house: House, folder: Path) -> list[tuple[Any, ...]]:
    """The answer over copies of the bucket's files: DuckDB's extension for S3 is not in its wheel."""
    for key in house.server.keys(house.bucket, "data_exports/export_id="):
        path = folder / "bucket" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        house.server.client().download_file(house.bucket, key, str(path))
    assert f"s3://{house.bucket}/" in query
    with duckdb.connect() as connection:
        return connection.execute(query.replace(f"s3://{house.bucket}/", f"{folder}/bucket/")).fetchall()


def test_the_commands_for_aws_and_google_are_accepted_and_one_that_stops_an_export_is_final(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str | None] = []

    def check(config: DestinationConfig, _credentials: Credentials) -> Capabilities:
        checked.append(config.endpoint_url)  # neither is within reach of a test
        return Capabilities(write=True)

    monkeypatch.setattr(destinations, "_capabilities", check)
    with served(create_app(house.settings, house.control)) as address:
        page = Page(house, address)
        assert page.ask(1)["config"]["region"] == "us-east-1"
        page.values[EXAMPLE_DESTINATION] = page.ask(2)["id"]
        assert checked == [None, "https://storage.googleapis.com"]
        page.values[EXAMPLE_EXPORT] = page.ask(3)["id"]
        assert page.ask(7)["status"] == "Cancelled"
        assert page.ask(4)["status"] == "Cancelled"
        page.values["epk_YOUR_API_KEY"] = "epk_another"
        refused = curl(page.commands[4])
        assert refused == Answer(401, '{"detail":"Give a valid API key in the header X-API-Key."}')
