"""The bulk-export API as its public OpenAPI document (August 2026) has it, in short: calls, schemas, bounds, enums.

A type is written as it stands there: `str`, `uuid`, `time`, `int`, `bool`, `object`, `[type]`, the name of a schema;
`?` after it says that null is accepted. What a field has beyond its type stands in a dictionary beside it.
"""

from typing import Any

BASE = "/api/v1/bulk-exports"
Parameter = tuple[str, str, bool, str, dict[str, Any]]

LIMIT: Parameter = ("limit", "query", False, "int?", {"minimum": 1, "maximum": 1000})
OFFSET: Parameter = ("offset", "query", False, "int", {"minimum": 0, "default": 0})
SOURCE: Parameter = ("source_bulk_export_id", "query", True, "uuid", {})


def in_path(name: str) -> Parameter:
    """An id in the path."""
    return (name, "path", True, "uuid", {})


EXPORT, RUN, DESTINATION = in_path("bulk_export_id"), in_path("run_id"), in_path("destination_id")

CALLS: dict[tuple[str, str], dict[str, Any]] = {
    ("get", BASE): {
        "id": "get_bulk_exports_api_v1_bulk_exports_get",
        "parameters": [LIMIT, OFFSET],
        "answer": "[BulkExport]",
    },
    ("post", BASE): {
        "id": "create_bulk_export_api_v1_bulk_exports_post",
        "body": "BulkExportCreate",
        "answer": "BulkExport",
    },
    ("get", f"{BASE}/destinations"): {
        "id": "get_bulk_export_destinations_api_v1_bulk_exports_destinations_get",
        "answer": "[BulkExportDestination]",
    },
    ("post", f"{BASE}/destinations"): {
        "id": "create_bulk_export_destination_api_v1_bulk_exports_destinations_post",
        "body": "BulkExportDestinationCreate",
        "answer": "BulkExportDestination",
    },
    ("get", f"{BASE}/runs"): {
        "id": "get_bulk_export_runs_filtered_api_v1_bulk_exports_runs_get",
        "parameters": [SOURCE, LIMIT, OFFSET],
        "answer": "[BulkExportRun]",
    },
    ("get", f"{BASE}/{{bulk_export_id}}"): {
        "id": "get_bulk_export_api_v1_bulk_exports__bulk_export_id__get",
        "parameters": [EXPORT],
        "answer": "BulkExport",
    },
    ("patch", f"{BASE}/{{bulk_export_id}}"): {
        "id": "cancel_bulk_export_api_v1_bulk_exports__bulk_export_id__patch",
        "parameters": [EXPORT],
        "body": "BulkExportUpdate",
        "answer": "BulkExport",
    },
    ("get", f"{BASE}/destinations/{{destination_id}}"): {
        "id": "get_bulk_export_destination_api_v1_bulk_exports_destinations__destination_id__get",
        "parameters": [DESTINATION],
        "answer": "BulkExportDestination",
    },
    ("patch", f"{BASE}/destinations/{{destination_id}}"): {
        "id": "update_bulk_export_destination_api_v1_bulk_exports_destinations__destination_id__patch",
        "parameters": [DESTINATION],
        "body": "BulkExportDestinationUpdate",
        "answer": "BulkExportDestination",
    },
    ("get", f"{BASE}/{{bulk_export_id}}/runs"): {
        "id": "get_bulk_export_runs_api_v1_bulk_exports__bulk_export_id__runs_get",
        "parameters": [EXPORT, LIMIT, OFFSET],
        "answer": "[BulkExportRun]",
    },
    ("get", f"{BASE}/{{bulk_export_id}}/runs/{{run_id}}"): {
        "id": "get_bulk_export_run_api_v1_bulk_exports__bulk_export_id__runs__run_id__get",
        "parameters": [EXPORT, RUN],
        "answer": "BulkExportRun",
    },
}

ENUMS: dict[str, list[str]] = {
    "BulkExportCompression": ["none", "gzip", "snappy", "zstandard"],
    "BulkExportDestinationType": ["s3"],
    "BulkExportFormat": ["Parquet"],
    "BulkExportFormatVersion": ["v1", "v2_beta"],
    "BulkExportRunStatus": ["Cancelled", "Completed", "Created", "Failed", "TimedOut", "Running"],
    "BulkExportStatus": [
        "Cancelled",
        "Completed",
        "Created",
        "IntervalScheduled",
        "Failed",
        "TimedOut",
        "Running",
    ],
    "BulkExportUpdatableStatus": ["Cancelled"],
}

NAME = {"minLength": 1, "pattern": r"^[a-zA-Z0-9\-_ ']+$"}
_ASKED: dict[str, Any] = {
    "bulk_export_destination_id": "uuid",
    "session_id": "uuid?",
    "all_experiments": ("bool", {"default": False}),
    "start_time": "time",
    "end_time": "time?",
    "filter": "str?",
    "format": ("BulkExportFormat", {"default": "Parquet"}),
    "format_version": ("BulkExportFormatVersion", {"default": "v1"}),
    "compression": ("BulkExportCompression", {"default": "zstandard"}),
    "interval_hours": "int?",
    "export_fields": "[str]?",
}

SCHEMAS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "BotocoreS3Config": (
        {
            "addressing_style": ("str?", {"enum": ["auto", "virtual", "path"]}),
            "use_accelerate_endpoint": "bool?",
            "payload_signing_enabled": "bool?",
            "us_east_1_regional_endpoint": ("str?", {"enum": ["regional", "legacy"]}),
        },
        set(),
    ),
    "BulkExportDestinationS3Config": (
        {
            "endpoint_url": ("str?", {"maxLength": 2048}),
            "prefix": ("str", {"maxLength": 2048, "default": ""}),
            "bucket_name": ("str?", {"minLength": 3, "maxLength": 63}),
            "region": ("str?", {"minLength": 1}),
            "s3_additional_kwargs": "object?",
            "config_kwargs_s3": "BotocoreS3Config?",
            "include_bucket_in_prefix": ("bool", {"default": True}),
            "aws_role_arn": "str?",
        },
        set(),
    ),
    "BulkExportDestinationS3Credentials": (
        {
            "access_key_id": ("str", {"minLength": 1, "maxLength": 255}),
            "secret_access_key": ("str", {"minLength": 1, "maxLength": 2048}),
            "session_token": ("str?", {"maxLength": 2048}),
        },
        {"access_key_id", "secret_access_key"},
    ),
    "BulkExportDestinationCreate": (
        {
            "destination_type": ("BulkExportDestinationType", {"default": "s3"}),
            "display_name": ("str", NAME),
            "config": "BulkExportDestinationS3Config",
            "credentials": "BulkExportDestinationS3Credentials?",
        },
        {"display_name", "config"},
    ),
    "BulkExportDestinationUpdate": ({"credentials": "BulkExportDestinationS3Credentials"}, {"credentials"}),
    "BulkExportDestination": (
        {
            "destination_type": ("BulkExportDestinationType", {"default": "s3"}),
            "display_name": ("str", NAME),
            "config": "BulkExportDestinationS3Config",
            "id": "uuid",
            "tenant_id": "uuid",
            "created_at": "time",
            "updated_at": "time",
            "credentials_keys": "[str]",
        },
        {"display_name", "config", "id", "tenant_id", "created_at", "updated_at", "credentials_keys"},
    ),
    "BulkExportCreate": (_ASKED, {"bulk_export_destination_id", "start_time"}),
    "BulkExportUpdate": ({"status": ("BulkExportUpdatableStatus", {"default": "Cancelled"})}, set()),
    "BulkExport": (
        {
            **_ASKED,
            "id": "uuid",
            "tenant_id": "uuid",
            "status": "BulkExportStatus",
            "created_at": "time",
            "updated_at": "time",
            "finished_at": "time?",
            "source_bulk_export_id": "uuid?",
        },
        {
            "bulk_export_destination_id",
            "start_time",
            "id",
            "tenant_id",
            "status",
            "created_at",
            "updated_at",
            "finished_at",
        },
    ),
    "BulkExportRun": (
        {
            "bulk_export_id": "uuid",
            "metadata": "BulkExportRunMetadata",
            "session_id": "uuid?",
            "id": "uuid",
            "status": "BulkExportRunStatus",
            "retry_number": ("int", {"default": 0}),
            "errors": "object?",
            "created_at": "time",
            "updated_at": "time",
            "finished_at": "time?",
            "start_time": "time?",
            "end_time": "time?",
        },
        {"bulk_export_id", "metadata", "id", "status", "created_at", "updated_at", "finished_at"},
    ),
    "BulkExportRunMetadata": (
        {
            "prefix": "str",
            "start_time": "time",
            "end_time": "time",
            "execution_backend": ("str?", {"enum": ["clickhouse", "smithdb"]}),
            "result": "BulkExportRunProgress?",
        },
        {"prefix", "start_time", "end_time"},
    ),
    "BulkExportRunProgress": (
        {
            "rows_written": "int",
            "exported_files": "[str]",
            "export_path": "str",
            "latest_cursor": "str?",
            "pending_upload": "PendingUpload?",
        },
        {"rows_written", "exported_files", "export_path", "latest_cursor"},
    ),
    "PendingUpload": (
        {"target_cursor": "str?", "file_path": "str", "rows_count": "int"},
        {"target_cursor", "file_path", "rows_count"},
    ),
    "HTTPValidationError": ({"detail": "[ValidationError]"}, set()),
    "ValidationError": ({"loc": "[str|int]", "msg": "str", "type": "str"}, {"loc", "msg", "type"}),
}

SECURITY = {
    "API Key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Tenant ID": {"type": "apiKey", "in": "header", "name": "X-Tenant-Id"},
    "Bearer Auth": {"type": "http", "scheme": "bearer"},
}
