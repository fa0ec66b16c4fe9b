"""Text that is not UTF-8, found and mended before Polars sees it (Polars trusts what it is given)."""

import json
from base64 import b64encode

import pyarrow as pa

from export_pipeline.runs.arrays import array_of
from export_pipeline.runs.cells import Replaced
from export_pipeline.runs.raw import BYTES


def mended(texts: pa.StringArray, *, errors: str, may_be_bytes: bool) -> tuple[pa.StringArray, dict[int, Replaced]]:
    """The column with every cell valid UTF-8, and the rows whose cells were not; the same object where all were.

    `errors` says what becomes of the invalid bytes: "replace" puts U+FFFD in their place (Python's rule: one for each
    byte that cannot begin or continue a character, so three for a surrogate that was encoded by itself),
    "backslashreplace" puts Python's escape, a backslash and `xff`, which keeps different cells different. Where cells
    `may_be_bytes`, those that begin with `raw.BYTES` become JSON that holds them in base64.
    """
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        pass
    else:
        return texts, {}
    cells: list[str | None] = []
    rows: dict[int, Replaced] = {}
    for row, cell in enumerate(texts.view(pa.binary()).to_pylist()):
        if may_be_bytes and cell is not None and cell.startswith(BYTES):
            rows[row] = Replaced.BYTES
            cells.append(json.dumps({"export_pipeline": {"base64": b64encode(cell[len(BYTES) :]).decode()}}))
            continue
        try:
            cells.append(cell if cell is None else cell.decode())
        except UnicodeDecodeError:
            rows[row] = Replaced.NOT_UTF8
            cells.append(cell.decode(errors=errors))
    return array_of(cells, pa.string()), rows
