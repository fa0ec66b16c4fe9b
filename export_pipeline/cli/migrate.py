"""`export-pipeline migrate`: brings the control database to the form that this version needs."""

from export_pipeline.cli import output, stores


def migrate() -> None:
    """Create or upgrade the control database's tables.

    Safe to run twice, or from several machines at once: a lock lets one of them work.

    Example: export-pipeline migrate
    """
    with stores.open_control(stores.load(), check=False) as control:
        control.migrate()
    output.say("The control database is up to date.")
