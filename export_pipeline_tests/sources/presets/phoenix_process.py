"""Run by the Python of `make stores`: sends spans to a Phoenix by its own SDK, then says what its own API says of them.

Called with the address of the server; the answer is JSON on standard output.
"""

import json
import sys
from contextlib import suppress
from typing import Any

PROJECT = "support bot"
MIDNIGHT = 1_773_446_400_000_000_000  # 2026-03-14T00:00:00Z in nanoseconds
SECOND = 1_000_000_000
CHAT, LATE, ROOTS, LOST = 0xA1, 0xA2, 0xA3, 0xA4


def span(  # noqa: PLR0917 - a line of a table
    trace: int, own: int, parent: int | None, name: str, at: float, attributes: dict[str, Any], **more: Any
) -> Any:
    """A span that began `at` seconds after midnight and took a second and a microsecond."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, TraceFlags

    start = MIDNIGHT + round(at * 1_000_000) * 1_000
    flags = TraceFlags(TraceFlags.SAMPLED)
    return ReadableSpan(
        name=name,
        context=SpanContext(trace, own, is_remote=False, trace_flags=flags),
        parent=None if parent is None else SpanContext(trace, parent, is_remote=False, trace_flags=flags),
        resource=Resource.create({"openinference.project.name": PROJECT}),
        attributes=attributes,
        start_time=start,
        end_time=start + SECOND + 1_000,
        instrumentation_scope=InstrumentationScope("tests"),
        **more,
    )


def chat() -> list[Any]:
    """A trace with everything that a span can have."""
    from opentelemetry.sdk.trace import Event
    from opentelemetry.trace import Status, StatusCode

    error = Status(StatusCode.ERROR, "ValueError: boom")
    raised = Event(
        "exception",
        {"exception.type": "ValueError", "exception.message": "boom", "exception.stacktrace": "Traceback: boom"},
        MIDNIGHT + 7_200 * SECOND,
    )
    token = Event("First Token Stream Event", {}, MIDNIGHT + 3_602 * SECOND + 500_000_000)
    return [
        span(
            CHAT,
            0x11,
            None,
            "answer",
            3600,
            {
                "openinference.span.kind": "AGENT",
                "input.value": '{"question": "Where is my parcel?", "n": 12345678901234567890}',
                "input.mime_type": "application/json",
                "output.value": "On its way ✈",
                "metadata": json.dumps({"env": "prod", "empty": None}),
                "session.id": "thread-1",
                "user.id": "user-1",
                "tag.tags": ["gold", "ünïcode"],
            },
        ),
        span(
            CHAT,
            0x12,
            0x11,
            "gpt",
            3601.25,
            {
                "openinference.span.kind": "LLM",
                "llm.model_name": "gpt-4o-mini",
                "llm.provider": "openai",
                "llm.invocation_parameters": '{"temperature": 0.5}',
                "llm.token_count.prompt": 1_200,
                "llm.token_count.completion": 34,
                "llm.token_count.total": 1_234,
                "llm.token_count.prompt_details.cache_read": 200,
                "llm.input_messages.0.message.role": "user",
                "llm.input_messages.0.message.content": "Where is my parcel?",
                "llm.output_messages.0.message.role": "assistant",
                "llm.output_messages.0.message.content": "On its way",
            },
            events=[token],
        ),
        span(
            CHAT,
            0x13,
            0x12,
            "look up",
            3601.5,
            {"openinference.span.kind": "TOOL", "tool.name": "look_up", "tool.parameters": '{"parcel": 7}'},
            status=error,
            events=[raised],
        ),
        span(
            CHAT,
            0x14,
            0x11,
            "search",
            3601.75,
            {
                "openinference.span.kind": "RETRIEVER",
                "input.value": "parcel",
                "retrieval.documents.0.document.content": "a page",
            },
        ),
        span(
            CHAT,
            0x15,
            0x11,
            "odd",
            3601.875,
            {
                "openinference.span.kind": "EMBEDDING",
                "input.value": "{broken",
                "input.mime_type": "application/json",
                "output.value": "[1, 2]",
                "output.mime_type": "application/json",
            },
        ),
    ]


def trees() -> list[Any]:
    """A root of the day before, two roots in a trace, a parent that is not there."""
    return [
        span(LATE, 0x21, None, "yesterday", -1, {"openinference.span.kind": "CHAIN"}),
        span(LATE, 0x22, 0x21, "over midnight", 0, {"openinference.span.kind": "CHAIN"}),
        span(LATE, 0x23, 0x22, "a microsecond before", -0.000001, {"openinference.span.kind": "CHAIN"}),
        span(ROOTS, 0x31, None, "one root", 10, {}),
        span(ROOTS, 0x32, None, "another root", 11, {"openinference.span.kind": "LLM", "llm.token_count.prompt": 5}),
        span(ROOTS, 0x33, 0x32, "its child", 12, {"openinference.span.kind": "GUARDRAIL"}),
        span(LOST, 0x41, 0x99, "orphan", 20, {}),
        span(LOST, 0x42, 0x41, "child of the orphan", 21, {}),
    ]


def main(address: str) -> None:
    """Sends all spans, children first as they end, and annotates some."""
    from httpx import HTTPStatusError
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from phoenix.client import Client

    exporter = OTLPSpanExporter(endpoint=f"{address}/v1/traces")
    for spans in (chat(), trees()):
        assert exporter.export(spans[::-1]).name == "SUCCESS"
    client = Client(base_url=address)
    known: list[Any] = []
    while len(known) < len(chat()) + len(trees()):  # it answers before it has stored them, and their project
        with suppress(HTTPStatusError):
            known = client.spans.get_spans(project_identifier=PROJECT, limit=100)
    for name, kind, score, label in (("helpful", "HUMAN", 1.0, "yes"), ("length", "CODE", 0.25, None)):
        client.spans.add_span_annotation(
            span_id=f"{0x12:016x}",
            annotation_name=name,
            annotator_kind=kind,
            score=score,
            label=label,
            explanation=f"because {name}",
            sync=True,
        )
    client.traces.add_trace_annotation(
        trace_id=f"{CHAT:032x}", annotation_name="helpful", annotator_kind="LLM", label="no", score=0.0, sync=True
    )
    told = sorted((each["context"]["span_id"], each["parent_id"], each["name"]) for each in known)
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
