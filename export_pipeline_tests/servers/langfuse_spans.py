"""What Langfuse makes of the spans that its SDK sends by OTLP: observations."""

import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

_OBSERVATION, _TRACE = "langfuse.observation.", "langfuse.trace."
_METADATA = f"{_OBSERVATION}metadata."


def observations_of(body: bytes, headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The observations of a request, with their `traceId`, `id` and start."""
    request = ExportTraceServiceRequest()
    request.ParseFromString(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                given = {each.key: _value(each.value) for each in span.attributes}
                yield {
                    "traceId": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parentObservationId": span.parent_span_id.hex() or None,
                    "startTime": _time(span.start_time_unix_nano),
                    "endTime": _time(span.end_time_unix_nano),
                    "name": span.name,
                    "type": str(given.get(f"{_OBSERVATION}type", "span")).upper(),
                    "level": given.get(f"{_OBSERVATION}level", "DEFAULT"),
                    "statusMessage": given.get(f"{_OBSERVATION}status_message"),
                    "input": given.get(f"{_OBSERVATION}input"),
                    "output": given.get(f"{_OBSERVATION}output"),
                    "model": given.get(f"{_OBSERVATION}model.name"),
                    "modelParameters": _json(given.get(f"{_OBSERVATION}model.parameters"), None),
                    "usageDetails": _json(given.get(f"{_OBSERVATION}usage_details"), {}),
                    "costDetails": _json(given.get(f"{_OBSERVATION}cost_details"), {}),
                    "completionStartTime": _moment(given.get(f"{_OBSERVATION}completion_start_time")),
                    "metadata": {
                        key.removeprefix(_METADATA): value for key, value in given.items() if key.startswith(_METADATA)
                    },
                    "userId": given.get("user.id"),
                    "sessionId": given.get("session.id"),
                    "tags": given.get(f"{_TRACE}tags", []),
                    "traceName": given.get(f"{_TRACE}name"),
                }


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def _json(text: Any, otherwise: Any) -> Any:
    return otherwise if text is None else json.loads(text)


def _time(nanoseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1_000)


def _moment(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(json.loads(text) if text.startswith('"') else text)
