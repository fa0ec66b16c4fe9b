"""`export-pipeline verify`: reads the bucket back and says what is not as it was committed."""

from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from export_pipeline.cli import output, stores

if TYPE_CHECKING:
    from export_pipeline.exports.control.database import ControlDatabase
    from export_pipeline.exports.control.records import TableRecord
    from export_pipeline.exports.proof.verify.export import VerifyReport
    from export_pipeline.files.signing import PublicKeys
    from export_pipeline.object_store.protocol import ObjectStore
    from export_pipeline.settings import Settings


def verify(
    exports: Annotated[
        list[str] | None,
        typer.Argument(help="Projects (name, asset or id) or ids of exports; without any all standing ones."),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also read the trace store and compare ids and values, day by day.")
    ] = False,
    bucket_only: Annotated[
        bool, typer.Option("--bucket-only", help="Use the bucket alone, as where the control database was lost.")
    ] = False,
    abort_uploads: Annotated[
        bool, typer.Option("--abort-uploads", help="Abort uploads that were left open and that nobody needs.")
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """Read everything back from the bucket and check it.

    Lists whatever of manifests and files is not as it was committed: compares counts, bytes, checksums, content,
    ids, the control database's records, and with SIGNING_PUBLIC_KEYS the manifests' signatures. Reads every file;
    writes nothing, and removes nothing but uploads with --abort-uploads. Ends with 1 where something is wrong.
    With --bucket-only no SOURCE_URL and CONTROL_URL are needed.

    Example: export-pipeline verify checkout_bot --deep
    """
    settings = stores.load(bucket_only=bucket_only and not deep)
    with ExitStack() as stack:
        control = None if bucket_only else stack.enter_context(stores.open_control(settings))
        named = [table for name in exports or () for table in stores.find_tables(control, name)] if control else []
        source = stack.enter_context(stores.open_source(settings)) if deep else None
        store = stack.enter_context(stores.open_store(bucket_only=control is None))
        from export_pipeline.errors import InputError, PermanentError
        from export_pipeline.exports.proof.verify.export import not_verified, verify_export
        from export_pipeline.files.signing import PublicKeys

        keys = PublicKeys.from_settings(settings)
        chosen, others = (named, []) if named else _all(control, store, settings, only=exports, keys=keys)
        reports = []
        for export in chosen:
            try:
                with (
                    stores.open_store_of(export, store, control, settings) as its,
                    output.progress(f"verifying {export.export_id}") as on_day,
                ):
                    report = verify_export(
                        export,
                        control=control,
                        store=its,
                        source=source,
                        keys=keys,
                        deep=deep,
                        abort_uploads=abort_uploads,
                        on_day=on_day,
                    )
            except (PermanentError, InputError) as error:
                if len(chosen) == 1:
                    raise
                report = not_verified(export.export_id, str(error))
            reports.append(report)
    if as_json:
        output.print_json([asdict(report) for report in [*reports, *others]])
    else:
        _show([*zip(map(stores.location, chosen), reports, strict=True), *(("", other) for other in others)])
    if not all(report.ok for report in [*reports, *others]):
        raise typer.Exit(1)


def _all(
    control: "ControlDatabase | None",
    store: "ObjectStore",
    settings: "Settings",
    *,
    only: list[str] | None,
    keys: "PublicKeys",
) -> "tuple[list[TableRecord], list[VerifyReport]]":
    """All exports in use; without the control database those that the bucket's manifests tell of.

    Beside them a report of each table of which no manifest can be believed.
    """
    from export_pipeline.errors import InputError
    from export_pipeline.exports.projects.standing import list_tables
    from export_pipeline.exports.proof.verify.export import exports_in_bucket, not_verified

    if control is not None:
        return [export for export in list_tables(control) if export.superseded_at is None], []
    tables, others = exports_in_bucket(store, settings.prefix, keys=keys)
    wanted = [export for export in tables if not only or str(export.export_id) in only]
    reports = [not_verified(table.export_id, why) for table, why in others if not only or str(table.export_id) in only]
    there = {str(export.export_id) for export in wanted} | {str(report.export_id) for report in reports}
    if unknown := set(only or ()) - there:
        known = ", ".join(str(export.export_id) for export in tables) or "none"
        raise InputError(f"the bucket has no export {', '.join(sorted(unknown))}; it has {known}")
    return wanted, reports


def _show(located: "list[tuple[str, VerifyReport]]") -> None:
    reports = [report for _, report in located]
    if not reports:
        output.say("Nothing has been exported yet.")
        return
    from export_pipeline.runs.reasons import describe_rejected

    names = ("days", "empty_days", "files", "rows", "rejected", "bytes")
    output.table(
        ["export", ">days", ">empty", ">files", ">rows", ">rejected", ">bytes", ">wrong", "lies at"],
        [
            (
                report.export_id,
                *(getattr(report.counts, name) for name in names),
                len(report.problems),
                location,
            )
            for location, report in located
        ],
    )
    for report in reports:
        for day, reasons in report.rejected.items():
            output.say(f"{report.export_id}: {day}: {describe_rejected(reasons)}", style="yellow")
        for note in report.notes:
            output.say(f"{report.export_id}: {note}", style="yellow")
        if report.being_exported:
            days = ", ".join(map(str, report.being_exported))
            output.say(f"{report.export_id}: left out, because they are being exported: {days}")
        for problem in report.problems:
            output.warn(f"{report.export_id}: {problem}")
