"""Tables with the columns, engines and keys of Langfuse's, and rows for them in several versions."""

from typing import Any

from export_pipeline_tests.sources.stores import Store, execute

MERGED = (
    "ReplacingMergeTree(event_ts, is_deleted) PARTITION BY toYYYYMM({time}) PRIMARY KEY ({key}) ORDER BY ({key}{more})"
)
TRACES = """id String, timestamp DateTime64(3), name String, user_id Nullable(String),
metadata Map(LowCardinality(String), String), release Nullable(String), version Nullable(String), project_id String,
environment LowCardinality(String) DEFAULT 'default', public Bool, bookmarked Bool, tags Array(String),
input Nullable(String), output Nullable(String), session_id Nullable(String), created_at DateTime64(3) DEFAULT now(),
updated_at DateTime64(3) DEFAULT now(), event_ts DateTime64(3), is_deleted UInt8"""
OBSERVATIONS = """id String, trace_id String, project_id String, environment LowCardinality(String) DEFAULT 'default',
type LowCardinality(String), parent_observation_id Nullable(String), start_time DateTime64(3),
end_time Nullable(DateTime64(3)), name String, metadata Map(LowCardinality(String), String),
level LowCardinality(String), status_message Nullable(String), version Nullable(String), input Nullable(String),
output Nullable(String), provided_model_name Nullable(String), model_parameters Nullable(String),
usage_details Map(LowCardinality(String), UInt64), cost_details Map(LowCardinality(String), Decimal(18, 12)),
total_cost Nullable(Decimal(18, 12)), completion_start_time Nullable(DateTime64(3)),
created_at DateTime64(3) DEFAULT now(), updated_at DateTime64(3) DEFAULT now(), event_ts DateTime64(3),
is_deleted UInt8"""
SCORES = """id String, timestamp DateTime64(3), project_id String, environment LowCardinality(String) DEFAULT 'default',
trace_id Nullable(String), session_id Nullable(String), observation_id Nullable(String), name String, value Float64,
source String, comment Nullable(String), data_type String, string_value Nullable(String),
created_at DateTime64(3) DEFAULT now(), updated_at DateTime64(3) DEFAULT now(), event_ts DateTime64(3),
is_deleted UInt8"""
EVENTS = """project_id String, trace_id String, span_id String, parent_span_id String, start_time DateTime64(6),
end_time Nullable(DateTime64(6)), name String, type LowCardinality(String),
environment LowCardinality(String) DEFAULT 'default', version String, release String, trace_name String,
user_id String, session_id String, tags Array(String), level LowCardinality(String), status_message String,
completion_start_time Nullable(DateTime64(6)), is_app_root Bool DEFAULT false, provided_model_name String,
model_parameters String, usage_details Map(LowCardinality(String), UInt64),
cost_details Map(LowCardinality(String), Decimal(18, 12)),
total_cost Decimal(18, 12) ALIAS cost_details['total'], input String,
input_length UInt64 MATERIALIZED lengthUTF8(input), output String,
metadata_names Array(String), metadata_values Array(String), experiment_item_id String,
created_at DateTime64(6) DEFAULT now(), updated_at DateTime64(6) DEFAULT now(), event_ts DateTime64(6),
is_deleted UInt8"""


def make(store: Store, *, version: int) -> None:
    """The tables of version 3, and those that version 4 has beside them."""
    day = "project_id, toDate(timestamp)"
    of_start = "project_id, type, toDate(start_time)"
    tables = {
        "traces": (TRACES, MERGED.format(time="timestamp", key=day, more=", id")),
        "observations": (OBSERVATIONS, MERGED.format(time="start_time", key=of_start, more=", id")),
        "scores": (SCORES, MERGED.format(time="timestamp", key=f"{day}, name", more=", id")),
    }
    if version == 4:
        key = "project_id, toStartOfMinute(start_time), xxHash32(trace_id)"
        engine = MERGED.format(time="start_time", key=key, more=", span_id, start_time")
        tables["events_full"] = (EVENTS, f"{engine} SAMPLE BY xxHash32(trace_id)")
    for name, (columns, engine) in tables.items():
        execute(store.url, f"CREATE TABLE {name} ({columns}) ENGINE = {engine}", nullable=False)


def add(store: Store, table: str, **values: Any) -> None:
    """Adds a row, as a part of its own."""
    store.insert(table, **{"project_id": "chat", "is_deleted": 0, "event_ts": "2026-03-14 20:00:00", **values})
