"""The tests have the rooms of the package, so that the place of a thing names the place of its tests."""

import re
from pathlib import Path

import pytest

from export_pipeline_tests.project.documents import ROOT

TESTS = ROOT / "export_pipeline_tests"
ROOMS = ("api", "cli", "exports", "files", "local", "object_store", "orchestration", "runs", "sources")


def packages(below: Path) -> set[str]:
    """The folders with modules, relative to `below`."""
    found = {path.parent.relative_to(below).as_posix() for path in below.rglob("__init__.py")}
    return {folder for folder in found if "migrations" not in folder}  # one test goes over all of their versions


@pytest.mark.parametrize("room", ROOMS)
def test_each_folder_of_a_room_has_its_tests_in_a_folder_of_that_name(room: str) -> None:
    folders = packages(ROOT / "export_pipeline" / room)
    assert folders - packages(TESTS / room) == set()
    assert [folder for folder in sorted(folders) if not list((TESTS / room / folder).glob("test_*.py"))] == []


@pytest.mark.parametrize("room", [*ROOMS, "live", "project", "sample", "servers"])
def test_what_several_files_use_lies_in_none_that_has_tests(room: str) -> None:
    uses = re.compile(r"^\s*from export_pipeline_tests[\w.]*\.test_\w+ import", re.MULTILINE)
    assert [path.name for path in sorted((TESTS / room).rglob("*.py")) if uses.search(path.read_text())] == []
