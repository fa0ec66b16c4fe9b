"""ClickHouse's own Parquet, as `INTO OUTFILE … FORMAT Parquet` writes it: asked for over HTTP, and put into a file."""

import shutil
import sys
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pyarrow.parquet as pq
from measured import options, run

given = options()


def work() -> dict[str, Any]:
    """Writes the file, and counts its rows."""
    path = Path(given["folder"]) / "day.parquet"
    with urllib.request.urlopen(given["address"], given["query"].encode()) as answer, path.open("wb") as to:
        shutil.copyfileobj(answer, to, 1024 * 1024)
    return {"rows": pq.read_metadata(path).num_rows}


run(work)
