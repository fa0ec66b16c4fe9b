"""Arrays that are made buffer by buffer hold what PyArrow's own would hold."""

import subprocess
import sys
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from export_pipeline.runs.arrays import array_of, flags_array, instants_array, strings_array, text_array


@pytest.mark.parametrize(
    ("values", "data_type"),
    [
        (["", None, "ä", "語" * 9, "x"], pa.string()),
        ([0, None, -(2**63), 2**63 - 1], pa.int64()),
        ([True, None, False, *([True] * 9)], pa.bool_()),
        ([None, 0, -1, 253402300799999999], pa.timestamp("us", tz="UTC")),
        ([Decimal(0), None, Decimal("-999999.999999999999"), Decimal("1e-12"), Decimal("2.50")], pa.decimal128(18, 12)),
        ([[], ["a"], ["b", "ç"]], pa.list_(pa.string())),
        ([], pa.string()),
        ([], pa.list_(pa.string())),
    ],
)
def test_every_type_of_the_schema_is_made_as_pyarrow_makes_it(values: list[Any], data_type: pa.DataType) -> None:
    made = array_of(values, data_type)
    made.validate(full=True)
    assert made.equals(pa.array(values, data_type))


def test_a_value_that_does_not_fit_is_an_error_and_never_another_value() -> None:
    with pytest.raises(OverflowError):
        array_of([2**63], pa.int64())
    with pytest.raises(UnicodeEncodeError):
        array_of(["\ud800"], pa.string())
    with pytest.raises(TypeError, match="no array of the type double"):
        array_of([1.5], pa.float64())


def test_bytes_pass_unchecked_and_masks_select() -> None:
    assert text_array([b"\xff", None]).view(pa.binary()).to_pylist() == [b"\xff", None]
    assert instants_array([1, 2, 3]).filter(flags_array([True, False, True])).cast(pa.int64()).to_pylist() == [1, 3]


@pytest.mark.parametrize(
    "values", [[], ["a", "", None, "bc"], [None, None], ["é", None, "✈a", ""], [None, "x" * 70_000]]
)
def test_strings_are_those_that_were_given(values: list[str | None]) -> None:
    found = strings_array(values)
    found.validate(full=True)
    assert (found.type, found.to_pylist(), found.null_count) == (pa.string(), values, values.count(None))


def test_half_of_a_surrogate_pair_is_kept_as_bytes() -> None:
    assert strings_array(["a", "b\ud83d", None]).view(pa.binary()).to_pylist() == [b"a", b"b\xed\xa0\xbd", None]


def test_making_arrays_does_not_import_pandas() -> None:
    code = (
        "import sys; from decimal import Decimal; import pyarrow as pa\n"
        "from export_pipeline.runs.arrays import array_of, strings_array\n"
        "from export_pipeline.runs.fast_path import _text_times\n"
        "_text_times(strings_array(['2026-03-14T10:00:00Z', None]), 's')\n"
        "for values, kind in [(['a'], pa.string()), ([1, None], pa.int64()), ([True], pa.bool_()),\n"
        "                     ([Decimal(1)], pa.decimal128(18, 12)), ([['a']], pa.list_(pa.string()))]:\n"
        "    array_of(values, kind)\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
