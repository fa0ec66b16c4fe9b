"""`export-pipeline status`: whether everything that exports need is there, and which days are overdue."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from export_pipeline.cli import output, stores
from export_pipeline.errors import ExportPipelineError

if TYPE_CHECKING:
    from export_pipeline.exports.watch.overdue import ProjectProgress
    from export_pipeline.settings import Settings

_MOST_WORKSPACES = 5


@dataclass(frozen=True)
class Check:
    """One line of the status: the part, whether it is well, and what was found or what to do.

    `warning`: it works, and something is amiss all the same, such as rows that are not exported.
    """

    part: str
    ok: bool
    detail: str
    warning: bool = False

    @property
    def state(self) -> str:
        """The state in a word."""
        return "WRONG" if not self.ok else "warning" if self.warning else "ok"


def status(as_json: output.AsJson = False) -> None:
    """Say what is wrong, and which days are overdue.

    Looks at trace store, control database, bucket and Dagster. Every part is looked at, also where another is down.
    Ends with 1 where something is wrong, so it serves as a probe. The bucket is tried by writing a small object
    outside the data and removing it.

    Example: export-pipeline status --json
    """
    settings = stores.load()
    checks = [_run(part, check, settings) for part, check in _CHECKS.items()]
    if as_json:
        output.print_json({"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]})
    else:
        output.table(["part", "state", "detail"], [(c.part, c.state, c.detail) for c in checks])
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _run(part: str, check: "Look", settings: "Settings") -> Check:
    try:
        return Check(part, *check(settings))
    except ExportPipelineError as error:
        return Check(part, False, str(error))


def _source(settings: "Settings") -> tuple[bool, str, bool]:
    with stores.open_source(settings) as source:
        report = source.check()
    if report.problems:
        return False, "; ".join(report.problems), False
    told = [f"{report.url}, {report.projects} projects", report.usage, *report.warnings]
    detail = "; ".join(filter(None, told))
    return True, detail, bool(report.warnings)


def _control(settings: "Settings") -> tuple[bool, str]:
    from export_pipeline.exports.projects.registry import list_projects

    with stores.open_control(settings) as control:
        projects = list_projects(control, only_assets=True, settings=settings)
    if not projects:
        return False, "it lists no projects yet; run `export-pipeline projects sync`"
    workspaces = Counter(project.tenant_id for project in projects)
    named = ", ".join(f"{tenant_id} ({count})" for tenant_id, count in workspaces.most_common(_MOST_WORKSPACES))
    more = ", …" if len(workspaces) > _MOST_WORKSPACES else ""
    return True, f"{len(projects)} projects have an asset; workspaces: {named}{more}"


def _destination(_settings: "Settings") -> tuple[bool, str]:
    from export_pipeline.object_store.s3.check import check_destination

    with stores.open_store() as store:
        checked = check_destination(store, store.config.prefix)
        place = store.config.place
    return checked.ok, " ".join([f"{place}: {checked.capabilities}.", *checked.warnings]) if checked.ok else str(
        checked.error
    )


def _daemon(settings: "Settings") -> tuple[bool, str]:
    from export_pipeline.cli.dagster_server import ask_health

    health = ask_health(settings.dagster_url)
    if health.ok:
        return True, f"{settings.dagster_url} answers, its daemons run"
    dead = f"not running: {', '.join(health.dead_daemons)}; start `dagster-daemon run`" if health.dead_daemons else None
    return False, "; ".join(filter(None, [dead, health.load_error]))


def _overdue(settings: "Settings") -> tuple[bool, str]:
    from export_pipeline.exports.watch.overdue import progress

    with stores.open_control(settings) as control:
        late = [item for item in progress(control, settings) if item.overdue]
    if not late:
        return True, "none is overdue"
    return False, "; ".join(f"{item.project.name}: {_late(item)}" for item in late)


def _rejected(settings: "Settings") -> tuple[bool, str, bool]:
    from export_pipeline.exports.watch.overdue import progress
    from export_pipeline.exports.watch.rejected import over_limit
    from export_pipeline.runs.reasons import describe_rejected, total_rejected

    with stores.open_control(settings) as control:
        over = [(item, over_limit(item.rejected, settings)) for item in progress(control, settings)]
    told = [
        f"{item.project.name}: {describe_rejected(total_rejected(days.values()))}; newest day {max(days)}"
        for item, days in over
        if days
    ]
    return True, "; ".join(told) or "none", bool(told)


def _late(item: "ProjectProgress") -> str:
    """The overdue days, and why the newest of them failed, where it was tried."""
    ranges = ", ".join(map(str, item.overdue_ranges))
    tried = [day for day in item.overdue if day in item.errors]
    return f"{ranges} overdue" + (f" ({tried[-1]} failed: {item.errors[tried[-1]]})" if tried else "")


Look = Callable[["Settings"], tuple[bool, str] | tuple[bool, str, bool]]
"""Gives the fields of a `Check` after its part."""

_CHECKS: dict[str, Look] = {
    "trace store": _source,
    "control database": _control,
    "bucket": _destination,
    "Dagster": _daemon,
    "days": _overdue,
    "rejected rows": _rejected,
}
