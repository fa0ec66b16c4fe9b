"""`psql`: COPY of the ordered rows in binary form to nowhere. The floor: nothing is encoded or stored."""

import os
import subprocess
from pathlib import Path

from measured import options, run

given = options()
COMMAND = [given["psql"], "-X", "-q", "-d", given["postgres"], "-c", f"COPY ({given['sql']}) TO STDOUT (FORMAT binary)"]


def work() -> None:
    """One COPY."""
    with Path(os.devnull).open("wb") as nowhere:
        subprocess.run(COMMAND, stdout=nowhere, check=True)


run(work)
