"""The stores that are known, with the tables by which each is recognised and those that its mapping reads."""

from functools import partial

from export_pipeline.sources.presets.store import Preset, columns

_PHOENIX = partial(
    Preset,
    kind="phoenix",
    label="Arize Phoenix 20",
    marks=columns(
        projects="id name created_at",
        traces="id project_rowid trace_id",
        spans="id trace_rowid span_id parent_id attributes events span_kind",
    ),
    needs=columns(
        spans="name start_time end_time status_code status_message llm_token_count_prompt llm_token_count_completion",
        traces="project_session_rowid",
        project_sessions="id session_id",
        span_costs="id span_rowid total_cost prompt_cost completion_cost",
        span_annotations="id span_rowid name label score explanation annotator_kind metadata created_at updated_at",
        trace_annotations="id trace_rowid name label score explanation annotator_kind metadata created_at updated_at",
    ),
    versions=frozenset({"4aad9107d196"}),
)
_MLFLOW = partial(
    Preset,
    kind="mlflow",
    label="MLflow 3.17",
    marks=columns(
        experiments="experiment_id name creation_time",
        trace_info="request_id experiment_id timestamp_ms",
        spans="trace_id span_id parent_span_id experiment_id start_time_unix_nano content",
    ),
    needs=columns(
        experiments="workspace",
        trace_info="session_id db_payload_generation",
        spans="name type status end_time_unix_nano input_cost output_cost total_cost model_name model_provider",
        trace_tags="request_id key value",
        trace_request_metadata="request_id key value",
        assessments="assessment_id trace_id span_id name assessment_type value error rationale source_type source_id "
        "valid created_timestamp last_updated_timestamp",
    ),
    versions=frozenset({"dc11669786a5"}),
)
_SCORES = (
    "id project_id trace_id observation_id name value source data_type string_value comment timestamp created_at "
    "updated_at event_ts is_deleted"
)
_LANGFUSE = partial(Preset, kind="langfuse", database="clickhouse")
_LANGFUSE_4 = _LANGFUSE(
    label="Langfuse 4",
    file="langfuse4.clickhouse",
    marks=columns(events_full="project_id trace_id span_id parent_span_id start_time event_ts is_deleted"),
    needs=columns(
        events_full="name type end_time level status_message completion_start_time tags usage_details cost_details "
        "provided_model_name model_parameters input output metadata_names metadata_values session_id user_id "
        "environment version release trace_name experiment_item_id updated_at",
        observations="start_time",
        scores=_SCORES,
    ),
)
_LANGFUSE_3 = _LANGFUSE(
    label="Langfuse 3",
    file="langfuse3.clickhouse",
    marks=columns(
        observations="id trace_id project_id type parent_observation_id start_time event_ts is_deleted",
        traces="id timestamp project_id event_ts is_deleted",
    ),
    needs=columns(
        observations="name end_time level status_message completion_start_time usage_details cost_details "
        "provided_model_name model_parameters input output metadata environment version updated_at",
        traces="name tags input output metadata session_id user_id environment version release updated_at",
        scores=_SCORES,
    ),
    newer=frozenset({"events_core"}),
)
_OTEL = Preset(
    kind="otel",
    database="clickhouse",
    label="the OpenTelemetry collector's ClickHouse exporter",
    file="otel.clickhouse",
    marks=columns(otel_traces="Timestamp TraceId SpanId ParentSpanId SpanName ServiceName SpanAttributes"),
    needs=columns(
        otel_traces="ResourceAttributes ScopeName Duration StatusCode StatusMessage Events.Timestamp Events.Name "
        "Events.Attributes"
    ),
)
_OPIK = Preset(
    kind="opik",
    database="clickhouse",
    label="Opik",
    file="opik.clickhouse",
    marks=columns(
        spans="id workspace_id project_id trace_id parent_span_id start_time total_estimated_cost last_updated_at",
        traces="id workspace_id project_id start_time thread_id last_updated_at",
    ),
    needs=columns(
        spans="name type end_time input output metadata tags usage model provider error_info",
        traces="name end_time input output metadata tags error_info",
        feedback_scores="entity_id entity_type workspace_id project_id name value category_name reason source "
        "created_at last_updated_at",
    ),
)

PRESETS: tuple[Preset, ...] = (
    _PHOENIX(database="sqlite", file="phoenix.sqlite"),
    _PHOENIX(database="postgresql", file="phoenix.postgresql"),
    _MLFLOW(database="sqlite", file="mlflow.sqlite"),
    _MLFLOW(database="postgresql", file="mlflow.postgresql"),
    _MLFLOW(database="mysql", file="mlflow.mysql"),
    _LANGFUSE_4,
    _LANGFUSE_3,
    _OTEL,
    _OPIK,
)
"""Each store in each database. Of several presets of a kind in one database the first whose `marks` are there is it."""
