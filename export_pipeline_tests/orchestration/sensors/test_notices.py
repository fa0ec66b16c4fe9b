"""The sensor that sends notices."""

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.errors import SettingsError
from export_pipeline.exports.control.tables import notices
from export_pipeline.settings import PREFIX
from export_pipeline_tests.control_rows import known_for_years
from export_pipeline_tests.orchestration.house import START, House


def tick(house: House, instance: dg.DagsterInstance, *, cursor: str | None = None) -> tuple[str, str]:
    """Evaluates the sensor; gives back what it says and its cursor."""
    definitions = house.definitions()
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources=dict(definitions.resources or {})
    ) as context:
        data = definitions.resolve_sensor_def("send_notices").evaluate_tick(context)
    assert data.skip_message is not None
    assert data.cursor is not None
    return data.skip_message, data.cursor


def test_overdue_days_are_told_of_once_and_looked_for_every_ten_minutes(
    house: House, instance: dg.DagsterInstance
) -> None:
    house.add_project("chat", days=[START])
    house.add_project("agent", days=[START])
    house.sync()
    known_for_years(house.control)
    said, cursor = tick(house, instance)
    assert said == "1 notices sent"
    assert tick(house, instance, cursor=cursor) == ("no notice to send", cursor)
    later = str(int(cursor) - 600 * 1_000_000)
    said, cursor = tick(house, instance, cursor=later)
    assert said == "no notice to send"
    assert int(cursor) > int(later)
    with house.control.read() as connection:
        (body,) = connection.execute(sa.select(notices.c.body)).scalars()
    assert [project["asset"] for project in body["detail"]["projects"]] == ["runs/agent", "runs/chat"]
    assert body["text"].endswith(" is overdue: runs/agent, runs/chat")


def test_a_project_that_becomes_overdue_later_is_told_of_alone(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    known_for_years(house.control)
    _, cursor = tick(house, instance)
    house.add_project("agent", days=[START])
    house.sync()
    known_for_years(house.control)
    tick(house, instance, cursor=str(int(cursor) - 600 * 1_000_000))
    with house.control.read() as connection:
        bodies = connection.execute(sa.select(notices.c.body).order_by(notices.c.created_at)).scalars()
        told = [[project["asset"] for project in body["detail"]["projects"]] for body in bodies]
    assert told == [["runs/chat"], ["runs/agent"]]


def test_a_first_start_tells_of_nothing(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    assert tick(house, instance)[0] == "no notice to send"


def test_where_the_receiver_is_away_the_tick_says_so(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    known_for_years(house.control)
    house.variables[PREFIX + "WEBHOOK_URL"] = "http://127.0.0.1:9/hook"
    house.variables[PREFIX + "WEBHOOK_SECRET"] = "a key"
    assert tick(house, instance)[0] == "no notice to send; 127.0.0.1 does not take notices: Connection refused"


def test_a_webhook_that_cannot_be_one_fails_the_tick(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    house.variables[PREFIX + "WEBHOOK_URL"] = "http://127.0.0.1:9/hook"
    with pytest.raises(SettingsError, match="WEBHOOK_SECRET"):
        tick(house, instance)
