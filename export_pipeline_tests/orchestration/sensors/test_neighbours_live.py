"""Two workspaces on one machine, one of them hostile, with the real API and daemon: the other one's day is exported.

However long that takes on this machine, it is done while what the hostile workspace asked for is not.
"""

import json
import sqlite3
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.api import create_app
from export_pipeline.exports.access.keys import DEFAULT_SCOPES, create_key
from export_pipeline.exports.control.tables import destinations, exports
from export_pipeline.object_store.secrets import new_key
from export_pipeline.settings import PREFIX
from export_pipeline_tests.api.serving import served
from export_pipeline_tests.faults.proxy import Fault, FaultProxy
from export_pipeline_tests.orchestration.daemon import Daemon
from export_pipeline_tests.orchestration.house import START, House
from export_pipeline_tests.servers import Weed, wait_for

pytestmark = pytest.mark.slow

HOSTILE, QUIET = uuid.UUID(int=21), uuid.UUID(int=22)
EXPORTS = 20
SECONDS = 300.0
LONGEST = {"start_time": "2016-12-01T00:00:00Z", "end_time": "2026-11-01T00:00:00Z"}
CENTURY = {"start_time": "1926-01-01T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Workspace:
    """A workspace as a client of the API; `project` is its only one."""

    address: str
    key: str
    project: str

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-API-Key": self.key, "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self.address}/api/v1/bulk-exports{path}", data=data, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def destination(self, house: House, *, endpoint_url: str | None = None) -> str:
        """The id of a new destination in the house's bucket."""
        server = house.server
        status, made = self.call(
            "POST",
            "/destinations",
            {
                "destination_type": "s3",
                "display_name": "lake",
                "config": {
                    "bucket_name": house.bucket,
                    "prefix": str(uuid.uuid4()),
                    "endpoint_url": endpoint_url or server.endpoint_url,
                },
                "credentials": {
                    "access_key_id": server.access_key_id,
                    "secret_access_key": server.secret_access_key,
                },
            },
        )
        assert status == 200, made
        return str(made["id"])

    def ask(self, destination: str, window: dict[str, str], **changes: str) -> tuple[int, Any]:
        """The answer to a new export of the project."""
        body = {"bulk_export_destination_id": destination, "session_id": self.project, **window, **changes}
        return self.call("POST", "", body)

    def ask_for_much(self, destination: str, **changes: str) -> list[str]:
        """Asks for many exports of the longest window; the ids of those that were accepted."""
        answers = [self.ask(destination, LONGEST, **changes) for _ in range(EXPORTS)]
        made = [answer["id"] for status, answer in answers if status == 200]
        assert made, answers
        return made

    def statuses(self) -> list[str]:
        """Those of all its exports."""
        status, found = self.call("GET", "")
        assert status == 200, found
        return [export["status"] for export in found]


@dataclass(frozen=True)
class Town:
    """Both workspaces, and what they share."""

    house: House
    hostile: Workspace
    quiet: Workspace


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Weed) -> Iterator[Town]:
    """The API and the daemon of one machine, over a trace store of two workspaces with a project each."""
    folder = tmp_path_factory.mktemp("town")
    house = House(folder, seaweedfs)
    house.variables |= {PREFIX + "SECRET_KEYS": new_key(), PREFIX + "RETRY_SECONDS": "1"}
    house.use_wal()
    theirs = house.add_project("hostile", days=[START + timedelta(days=number) for number in range(300)], runs=20)
    its = house.add_project("quiet", days=[START], runs=600)
    with closing(sqlite3.connect(folder / "traces.db")) as traces, traces:
        traces.execute("ALTER TABLE sessions ADD COLUMN tenant_id TEXT")
        traces.executemany(
            "UPDATE sessions SET tenant_id = ? WHERE id = ?", [(str(HOSTILE), theirs), (str(QUIET), its)]
        )
        metadata = json.dumps({f"key {number}": "x" * 50 for number in range(2_000)})
        traces.execute("UPDATE runs SET inputs = ? WHERE session_id = ?", (metadata, theirs))
    control = house.control
    control.migrate()
    house.sync()
    daemon = Daemon(house, folder / "dagster")
    with daemon.instance():
        pass
    keys = {
        tenant: create_key(control, name="test", tenant_id=tenant, scopes=DEFAULT_SCOPES, actor="test")[1]
        for tenant in (HOSTILE, QUIET)
    }
    with served(create_app(house.settings, control)) as address:
        daemon.start()
        try:
            yield Town(house, Workspace(address, keys[HOSTILE], theirs), Workspace(address, keys[QUIET], its))
        finally:
            daemon.stop()


@pytest.fixture
def proxy(town: Town) -> Iterator[FaultProxy]:
    """Between the hostile workspace's destination and its bucket."""
    with FaultProxy(town.house.server.endpoint_url) as made:
        yield made


def centuries(town: Town, proxy: FaultProxy) -> None:
    """Windows of a century, and of as many years as one may have."""
    destination = town.hostile.destination(town.house)
    status, answer = town.hostile.ask(destination, CENTURY)
    assert status == 422, answer
    assert "EXPORT_PIPELINE_MAX_EXPORT_DAYS" in json.dumps(answer)
    town.hostile.ask_for_much(destination)


def slow_filters(town: Town, proxy: FaultProxy) -> None:
    """Filters that read two thousand values of each row 32 times."""
    destination = town.hostile.destination(town.house)
    costly = ", ".join(f'like(input_value, "%{"y%" * number}")' for number in range(1, 33))
    town.hostile.ask_for_much(destination, filter=f"not(or({costly}))")


def stalling_buckets(town: Town, proxy: FaultProxy) -> None:
    """A bucket that was well when it was checked and answers nothing since."""
    destination = town.hostile.destination(town.house, endpoint_url=proxy.endpoint_url)
    proxy.on(".*", Fault(stall=True), times=None)
    town.hostile.ask_for_much(destination)


def poison(town: Town, proxy: FaultProxy) -> None:
    """Stored filters and credentials that cannot be read, and rows that are none."""
    control, house = town.house.control, town.house
    for number in range(EXPORTS):
        destination = town.hostile.destination(house)
        status, asked = town.hostile.ask(destination, LONGEST, filter='eq(name, "run 1")')
        if status != 200:
            continue
        with control.begin() as connection:
            if number % 2:
                here = exports.c.bulk_id == asked["id"]
                connection.execute(sa.update(exports).where(here).values(filter="and(" * 60))
            else:
                here = destinations.c.id == destination
                connection.execute(sa.update(destinations).where(here).values(credentials="no token"))
    rows = [
        (str(uuid.uuid4()), town.hostile.project, "\x00", "chain", f"{START}T{start}", inputs)
        for start in ("12:00:00", "99:99:99", "")
        for inputs in ("[" * 20_000, "\ud83d".encode("utf-8", "surrogatepass"), "{")
    ]
    with closing(sqlite3.connect(house.folder / "traces.db")) as traces, traces:
        traces.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", rows)


def unfinished(town: Town) -> int:
    return sum(status in {"Created", "Running"} for status in town.hostile.statuses())


@pytest.mark.parametrize("attack", [centuries, slow_filters, stalling_buckets, poison])
def test_a_day_of_another_workspace_is_exported_while_the_hostile_one_s_are_not_done(
    town: Town, proxy: FaultProxy, attack: Callable[[Town, FaultProxy], None]
) -> None:
    attack(town, proxy)
    if attack is not poison:
        wait_for(lambda: "Running" in town.hostile.statuses(), what="the begin of the attack", seconds=SECONDS)
    destination = town.quiet.destination(town.house)
    day = {"start_time": f"{START}T00:00:00Z", "end_time": f"{date(START.year, START.month, START.day + 1)}T00:00:00Z"}
    status, asked = town.quiet.ask(destination, day)
    assert status == 200, asked

    def ended() -> bool:
        return town.quiet.call("GET", f"/{asked['id']}")[1]["finished_at"] is not None

    wait_for(ended, what="the end of the quiet workspace's export", seconds=SECONDS)
    assert town.quiet.call("GET", f"/{asked['id']}")[1]["status"] == "Completed"
    assert attack is poison or unfinished(town) > 0
    for export in town.hostile.call("GET", "")[1]:
        if export["status"] in {"Created", "Running"}:
            town.hostile.call("PATCH", f"/{export['id']}", {"status": "Cancelled"})
    assert unfinished(town) == 0
