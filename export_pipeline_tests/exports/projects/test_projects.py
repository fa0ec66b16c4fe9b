"""The list of projects: names of assets, changes of the list, the first partition, finding a project."""

import re
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.errors import InputError, SettingsError, SourceUnreachableError, UnknownProjectError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.projects.naming import LONGEST, asset_name
from export_pipeline.exports.projects.registry import find_project, list_projects, partitions_start, sync_projects
from export_pipeline.settings import Settings
from export_pipeline_tests.exports.conftest import MakeSettings, project
from export_pipeline_tests.exports.memory_source import MemorySource, rows_of_day

ID = uuid.UUID("abcdef01-2345-4678-9abc-def012345678")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Chat Bot", "chat_bot"),
        ("Größe №5 ﬁne", "grosse_no5_fine"),
        ("  --a//b=..c--  ", "a_b_c"),
        ("Čeština ÅÉÎ", "cestina_aei"),
        ("日本語", "project"),
        ("🙂", "project"),
        ("", "project"),
        ("x" * 300, "x" * 100),
        ("a" * 99 + " b", "a" * 99),
    ],
)
def test_an_asset_is_named_after_its_project_in_plain_letters(name: str, expected: str) -> None:
    assert asset_name(name, ID, taken=set()) == expected


def test_a_second_project_of_the_same_name_gets_a_short_id() -> None:
    assert asset_name("Chat bot", ID, taken={"chat_bot"}) == "chat_bot_abcdef01"
    assert asset_name("Chat bot", ID, taken={"chat_bot", "chat_bot_abcdef01"}) == f"chat_bot_{ID.hex}"
    assert asset_name("y" * 200, ID, taken={"y" * 100}) == "y" * 91 + "_abcdef01"


@given(st.text(max_size=300), st.sets(st.sampled_from(["project", "a"])))
def test_every_name_makes_a_name_that_dagster_accepts(name: str, taken: set[str]) -> None:
    made = asset_name(name, ID, taken=taken)
    assert re.fullmatch(r"[a-z0-9_]{1,100}", made)
    assert len(made) <= LONGEST
    assert made not in taken


def test_a_first_sync_makes_the_database_and_lists_the_projects(
    tmp_path: Path, settings: Settings, source: MemorySource
) -> None:
    control = ControlDatabase(f"sqlite:///{tmp_path}/new/control.db")
    source.listed = [
        project("chatbot"),
        project("Chatbot", 2, tenant_key="acme"),
        project("exp", 3, is_experiment=True),
    ]
    report = sync_projects(control, source, settings)
    known = {found.project: found for found in list_projects(control, only_assets=False, settings=settings)}
    control.close()
    assert report.added == ("chatbot", "Chatbot", "exp")
    assert (report.total, report.renamed, report.removed) == (3, (), ())
    assert [found.asset_name for found in known.values()] == ["chatbot", "chatbot_00000000", "exp"]
    assert known[str(uuid.UUID(int=1))].tenant_id == settings.tenant_id
    assert known[str(uuid.UUID(int=2))].tenant_id not in {settings.tenant_id, None}
    assert known[str(uuid.UUID(int=3))].group_name == "experiments"
    assert known[str(uuid.UUID(int=1))].session_id == uuid.UUID(int=1)


def test_a_renamed_project_keeps_its_asset(control: ControlDatabase, settings: Settings, source: MemorySource) -> None:
    sync_projects(control, source, settings)
    source.listed = [project("support desk")]
    report = sync_projects(control, source, settings)
    assert report.renamed == (("chatbot", "support desk"),)
    assert (report.added, report.removed) == ((), ())
    found = find_project(control, "support desk")
    assert found.asset_name == "chatbot"


def test_a_name_that_was_given_once_is_not_given_again(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    sync_projects(control, source, settings)
    source.listed = [project("other", 1), project("chatbot", 2)]
    sync_projects(control, source, settings)
    assert find_project(control, "chatbot").asset_name == "chatbot_00000000"


def test_a_project_that_is_gone_is_marked_and_comes_back(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    sync_projects(control, source, settings)
    source.listed = []
    gone = sync_projects(control, source, settings)
    assert gone.removed == ("chatbot",)
    assert list_projects(control, only_assets=True, settings=settings) == []
    assert find_project(control, "chatbot").removed_at is not None
    assert sync_projects(control, source, settings).removed == ()
    source.listed = [project("chatbot")]
    back = sync_projects(control, source, settings)
    assert back.added == ("chatbot",)
    assert find_project(control, "chatbot").removed_at is None


def test_a_failed_read_changes_nothing(control: ControlDatabase, settings: Settings, source: MemorySource) -> None:
    sync_projects(control, source, settings)
    before = list_projects(control, only_assets=False, settings=settings)
    source.broken = True
    with pytest.raises(SourceUnreachableError):
        sync_projects(control, source, settings)
    assert list_projects(control, only_assets=False, settings=settings) == before


def test_two_ids_that_are_the_same_uuid_are_two_projects_with_a_uuid_each(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    key = "ABCDEF01-2345-4678-9ABC-DEF012345678"
    twin = project("twin")
    source.listed = [type(twin)(key=key, name="first"), type(twin)(key=key.lower(), name="second")]
    report = sync_projects(control, source, settings)
    assert (report.added, report.warnings) == (("first", "second"), ())
    first, second = find_project(control, "first"), find_project(control, "second")
    assert (first.project, str(first.session_id)) == (key, key.lower())
    assert (second.project, second.session_id) == (key.lower(), uuid.uuid5(first.session_id, key.lower()))
    assert sync_projects(control, source, settings).changed is False


def test_an_id_that_is_written_differently_now_is_the_same_project(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    upper = "ABCDEF01-2345-4678-9ABC-DEF012345678"
    kind = type(project("x"))
    source.listed = [kind(key=upper, name="chatbot")]
    sync_projects(control, source, settings)
    source.listed = [kind(key=upper.lower(), name="chatbot")]
    report = sync_projects(control, source, settings)
    assert (report.added, report.removed) == ((), ())
    assert find_project(control, "chatbot").project == upper.lower()


def test_the_partitions_start_at_the_first_day_with_rows_and_stay_there(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    today = datetime.now(UTC).date()
    key = source.listed[0].key
    assert sync_projects(control, source, settings).partitions_start is None
    assert partitions_start(control) is None
    source.rows = rows_of_day(key, today - timedelta(days=9), 2)
    source.rows += rows_of_day(key, date(1970, 1, 1), 1) + rows_of_day(key, today + timedelta(days=5), 3)
    report = sync_projects(control, source, settings)
    assert report.partitions_start == today - timedelta(days=9)
    assert [str(item) for item in report.outside] == [
        "chatbot: 1 rows before the first partition, 3 rows in the future"
    ]
    source.rows += rows_of_day(key, today - timedelta(days=20), 1)
    assert sync_projects(control, source, settings).partitions_start == today - timedelta(days=9)
    assert partitions_start(control) == today - timedelta(days=9)


def test_start_date_decides_the_first_partition_once(
    control: ControlDatabase, make_settings: MakeSettings, source: MemorySource
) -> None:
    first = sync_projects(control, source, make_settings(start_date="2024-02-29"))
    assert (first.partitions_start, first.warnings) == (date(2024, 2, 29), ())
    later = sync_projects(control, source, make_settings(start_date="2023-01-01"))
    assert later.partitions_start == date(2024, 2, 29)
    (warning,) = later.warnings
    assert warning == (
        "EXPORT_PIPELINE_START_DATE is 2023-01-01, but the partitions start on 2024-02-29: "
        "that was recorded at the first sync and does not move"
    )


def test_a_start_date_in_the_future_is_refused(
    control: ControlDatabase, make_settings: MakeSettings, source: MemorySource
) -> None:
    with pytest.raises(SettingsError, match="EXPORT_PIPELINE_START_DATE is 2999-01-01, which lies in the future"):
        sync_projects(control, source, make_settings(start_date="2999-01-01"))
    assert partitions_start(control) is None


def test_patterns_and_experiments_decide_which_projects_are_assets(
    control: ControlDatabase, make_settings: MakeSettings, source: MemorySource
) -> None:
    names = ["prod-a", "prod-b", "Prod-c", "dev-a"]
    source.listed = [project(name, number) for number, name in enumerate(names, 1)]
    source.listed.append(project("prod-exp", 9, is_experiment=True))
    settings = make_settings(projects_include="prod-*", projects_exclude="*-b,nothing")
    sync_projects(control, source, settings)

    def assets(**overrides: object) -> list[str]:
        chosen = settings.model_copy(update=overrides)
        return [found.name for found in list_projects(control, only_assets=True, settings=chosen)]

    assert assets() == ["prod-a"]
    assert assets(include_experiments=True) == ["prod-a", "prod-exp"]
    assert assets(projects_include=("*",), projects_exclude=()) == ["dev-a", "prod-a", "prod-b", "Prod-c"]
    assert len(list_projects(control, only_assets=False, settings=settings)) == 5


@pytest.mark.parametrize(
    "wanted",
    ["Chat bot", "chat_bot", "runs/chat_bot", str(uuid.UUID(int=7)), "{" + str(uuid.UUID(int=7)).upper() + "}"],
)
def test_a_project_is_found_by_name_asset_or_id(
    control: ControlDatabase, settings: Settings, source: MemorySource, wanted: str
) -> None:
    source.listed = [project("Chat bot", 7), project("other", 8)]
    sync_projects(control, source, settings)
    assert find_project(control, wanted).session_id == uuid.UUID(int=7)


def test_an_unknown_project_is_answered_with_close_names(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    with pytest.raises(UnknownProjectError, match="no project is known yet; run `export-pipeline projects sync`"):
        find_project(control, "chatbot")
    source.listed = [project("Chatbot", 1), project("search", 2)]
    sync_projects(control, source, settings)
    with pytest.raises(UnknownProjectError, match=r"unknown project 'chatbto': did you mean '[cC]hatbot'\?"):
        find_project(control, "chatbto")
    with pytest.raises(UnknownProjectError, match="no name is close to it"):
        find_project(control, "zzzzzz")


def test_a_name_of_several_projects_is_answered_with_their_ids(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    source.listed = [project("twin", 1), project("twin", 2)]
    sync_projects(control, source, settings)
    with pytest.raises(InputError, match=r"2 projects .* twin \(0+-.*1 of .*\), twin_00000000 \(0+-.*2 of .*\)"):
        find_project(control, "twin")
