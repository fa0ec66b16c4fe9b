"""The settings that queries are sent with.

A profile may cut results without a word (`limit`, `result_overflow_mode = 'break'`), leave out shards, or answer from a
cache. What a whole day depends on has to be set as it must be, or the store is refused. The rest keeps memory flat on
the server and the connection open while the bucket is slow; a user who may change nothing (`readonly = 1`) reads
without it.
"""

from collections.abc import Mapping
from typing import Any

from export_pipeline.errors import SourceUnusableError
from export_pipeline.settings import PREFIX

SNAPSHOT = "enable_shared_storage_snapshot_in_query"
"""With it a table that one query reads twice is read at one moment; ClickHouse has it since 25.6."""

FIRST_VERSION = (25, 6)
CUT_SHORT = (
    "the server's answers are cut short by the profile of this user (limit, offset, additional_result_filter); "
    "remove that from it"
)

MUST_BE: dict[str, str] = {
    SNAPSHOT: "1",
    "limit": "0",
    "offset": "0",
    **dict.fromkeys(
        (
            "result_overflow_mode", "read_overflow_mode", "read_overflow_mode_leaf", "timeout_overflow_mode",
            "timeout_overflow_mode_leaf", "sort_overflow_mode", "group_by_overflow_mode", "distinct_overflow_mode",
            "join_overflow_mode", "set_overflow_mode", "transfer_overflow_mode",
        ),
        "throw",
    ),
    "skip_unavailable_shards": "0",
    "additional_result_filter": "",
    "additional_table_filters": "{}",
    "use_query_cache": "0",
    "apply_deleted_mask": "1",
    "do_not_merge_across_partitions_select_final": "0",
    "enable_analyzer": "1",
    "join_use_nulls": "0",
    "transform_null_in": "0",
    "cast_keep_nullable": "0",
    "aggregate_functions_null_for_empty": "0",
    "group_by_use_nulls": "0",
    "prefer_column_name_to_alias": "0",
    "output_format_arrow_string_as_string": "1",
    "output_format_arrow_low_cardinality_as_dictionary": "0",
}  # fmt: skip
"""What results depend on."""

FAIL_EARLY = {
    "query_plan_execute_functions_after_sorting": "0",
    "optimize_read_in_order": "0",
    "short_circuit_function_evaluation": "force_enable",
}
"""With them an expression fails before the first row is sent, and never where a condition excludes it."""

_MB = 1024 * 1024


def wanted(*, seconds: float) -> dict[str, str]:
    """What is sent where it may be; `seconds` is how long any answer is waited for."""
    return {
        "final": "1",
        "max_execution_time": "0",
        # The driver holds a block several times over: with 8192 rows a worker took 45 MB more, and no less time.
        "max_block_size": "2048",
        # Only rows that are sorted outside come in blocks of so many bytes, and not of so many rows.
        "max_bytes_before_external_sort": str(32 * _MB),
        "max_bytes_ratio_before_external_sort": "0",
        "prefer_external_sort_block_bytes": str(2 * _MB),
        "max_bytes_before_external_group_by": str(256 * _MB),
        "query_plan_join_swap_table": "false",
        "http_send_timeout": str(int(seconds)),
        "send_timeout": str(int(seconds)),
        "cancel_http_readonly_queries_on_client_close": "1",
        "output_format_json_quote_64bit_integers": "0",
        "output_format_json_quote_decimals": "0",
        "output_format_json_escape_forward_slashes": "0",
    }


def chosen(server: Mapping[str, Any], *, version: str, place: str, seconds: float) -> dict[str, str]:
    """What to send to a server with these settings (each with `value` and `readonly`).

    Raises `SourceUnusableError` where one of `MUST_BE` is another and cannot be changed.
    """
    if SNAPSHOT not in server:
        if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) >= FIRST_VERSION:
            raise SourceUnusableError(f"{PREFIX}SOURCE_URL ({place}): {CUT_SHORT}")
        raise SourceUnusableError(
            f"{PREFIX}SOURCE_URL ({place}): the server is ClickHouse {version}; 25.6 or newer is needed"
        )
    sent = {}
    for name, value in MUST_BE.items():
        known = server.get(name)
        if known is None or known.value == value:
            continue
        if known.readonly:
            raise SourceUnusableError(
                f"{PREFIX}SOURCE_URL ({place}): for this user the setting {name} is {known.value!r} and cannot be "
                f"changed; whole days need {value!r}: set it in the user's profile, or let the user change settings "
                "(readonly = 2)"
            )
        sent[name] = value
    return sent | changeable(server, wanted(seconds=seconds))


def changeable(server: Mapping[str, Any], settings: Mapping[str, str]) -> dict[str, str]:
    """Those of the settings that the server has and the user may change."""
    return {name: value for name, value in settings.items() if name in server and not server[name].readonly}
