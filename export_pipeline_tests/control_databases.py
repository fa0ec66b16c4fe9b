"""Control databases with their schema."""

import functools
import tempfile
from pathlib import Path

from export_pipeline.exports.control.database import ControlDatabase


def new_sqlite(folder: Path) -> ControlDatabase:
    """One in a folder: a copy, since making one takes longer than many a test."""
    path = folder / "control.db"
    path.write_bytes(_made())
    path.chmod(0o600)
    return ControlDatabase(f"sqlite:///{path}")


@functools.cache
def _made() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "control.db"
        database = ControlDatabase(f"sqlite:///{path}")
        database.migrate()
        database.close()
        assert not path.with_name("control.db-wal").exists(), "everything is in the file"
        return path.read_bytes()
