"""Text that is not UTF-8, found and mended before Polars sees it (Polars trusts what it is given)."""

import pyarrow as pa

from export_pipeline.runs.arrays import array_of


def mended(texts: pa.StringArray, *, errors: str) -> tuple[pa.StringArray, list[int]]:
    """The column with every cell valid UTF-8, and the rows whose cells were not; the same object where all were.

    `errors` says what becomes of the invalid bytes: "replace" puts U+FFFD in their place (Python's rule: one for each
    byte that cannot begin or continue a character, so three for a surrogate that was encoded by itself),
    "backslashreplace" puts Python's escape, a backslash and `xff`, which keeps different cells different.
    """
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        pass
    else:
        return texts, []
    cells: list[str | None] = []
    rows: list[int] = []
    for row, cell in enumerate(texts.view(pa.binary()).to_pylist()):
        try:
            cells.append(cell if cell is None else cell.decode())
        except UnicodeDecodeError:
            cells.append(cell.decode(errors=errors))
            rows.append(row)
    return array_of(cells, pa.string()), rows
