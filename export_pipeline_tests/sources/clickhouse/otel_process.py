"""Run by the Python of `make stores`: calls a model under one of the instrumentations, and says which spans came of it.

Called with the instrumentation (genai, openinference or openllmetry) and the address of a server that speaks OpenAI's
API; the answer is JSON on standard output, attributes as the collector's exporter writes them.
"""

import datetime
import json
import os
import sys
from typing import Any

QUESTION, REPLY = "Where is my parcel? ✈", "On its way"
MODEL = "gpt-4o"


def by_client(base: str) -> None:
    """A call of OpenAI's own client."""
    import openai

    client = openai.OpenAI(api_key="none", base_url=base, max_retries=0)
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}], temperature=0.5)


def by_handler(provider: Any) -> None:
    """What an instrumentation that follows the GenAI conventions does, by OpenTelemetry's own library for these."""
    from opentelemetry.util.genai.handler import TelemetryHandler
    from opentelemetry.util.genai.types import InputMessage, OutputMessage, Text

    handler = TelemetryHandler(tracer_provider=provider, instrumentation_scope_name="app")
    with handler.inference("openai", request_model=MODEL) as call:
        call.input_messages = [InputMessage(role="user", parts=[Text(content=QUESTION)])]
        call.output_messages = [OutputMessage(role="assistant", parts=[Text(content=REPLY)], finish_reason="stop")]
        call.input_tokens, call.output_tokens, call.conversation_id = 12, 3, "thread-1"


def text(value: Any) -> str:
    """An attribute as the exporter writes it."""
    if isinstance(value, str):
        return value
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def time(nanoseconds: int) -> str:
    """A time as ClickHouse writes it."""
    second = datetime.datetime.fromtimestamp(nanoseconds // 1_000_000_000, datetime.UTC)
    return f"{second:%Y-%m-%d %H:%M:%S}.{nanoseconds % 1_000_000_000:09}"


def shown(span: Any) -> dict[str, Any]:
    """A span as a row of the collector's table."""
    parent = span.parent
    return {
        "Timestamp": time(span.start_time),
        "TraceId": f"{span.context.trace_id:032x}",
        "SpanId": f"{span.context.span_id:016x}",
        "ParentSpanId": "" if parent is None else f"{parent.span_id:016x}",
        "SpanName": span.name,
        "SpanKind": span.kind.name.capitalize(),
        "ServiceName": span.resource.attributes["service.name"],
        "ResourceAttributes": {key: text(value) for key, value in span.resource.attributes.items()},
        "ScopeName": span.instrumentation_scope.name,
        "SpanAttributes": {key: text(value) for key, value in span.attributes.items()},
        "Duration": span.end_time - span.start_time,
        "StatusCode": span.status.status_code.name.capitalize(),
        "StatusMessage": span.status.description or "",
        "Events.Timestamp": [time(event.timestamp) for event in span.events],
        "Events.Name": [event.name for event in span.events],
        "Events.Attributes": [{key: text(value) for key, value in event.attributes.items()} for event in span.events],
    }


def run(instrumentation: str, base: str) -> list[dict[str, Any]]:
    """A trace: an answer, with a call of a model, and a tool that fails."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider(resource=Resource.create({"service.name": "chat"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    if instrumentation == "openllmetry":
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument(tracer_provider=provider)
    elif instrumentation == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument(tracer_provider=provider)
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("answer"):
        if instrumentation == "genai":
            by_handler(provider)
        else:
            by_client(base)
        try:
            with tracer.start_as_current_span("look up", attributes={"gen_ai.operation.name": "execute_tool"}):
                raise LookupError("no such parcel")
        except LookupError:
            pass
    return [shown(span) for span in exporter.get_finished_spans()]


if __name__ == "__main__":
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"
    sys.stdout.write(json.dumps(run(*sys.argv[1:])) + "\n")
