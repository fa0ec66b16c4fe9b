"""The steps of publishing a day, by the names that the hook `on_step` is told, and what to do at one."""

from collections.abc import Callable
from datetime import date, timedelta

from export_pipeline_tests.exports.commit.bench import DAY

READ = ["claimed", "fenced", "snapshot", "streamed"]


UPLOAD = ["upload announced", "upload created", "upload recorded", "parts uploaded"]


COMPLETE = ["intent", "completing", "completed", "verified"]


RECORD = ["writing manifest", "manifest", "done"]


FILE_STEPS = [*READ, *UPLOAD, *COMPLETE, *RECORD]


def days(steps: list[str]) -> list[tuple[date, str]]:
    """A day for each step."""
    return [(DAY + timedelta(days=number), step) for number, step in enumerate(steps)]


def at(step: str, do: Callable[[], object]) -> Callable[[str], None]:
    """Does something once, at a step."""
    todo = [do]

    def on_step(name: str) -> None:
        if name == step and todo:
            todo.pop()()

    return on_step
