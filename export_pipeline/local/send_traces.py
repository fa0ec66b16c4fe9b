"""Run by the Python that has a trace store's own SDK: sends it a week of support conversations.

Called with the store (phoenix or mlflow), the address of its server and the first day; needs nothing of this package.
"""

import random
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

PROJECTS = ("support bot", "search agent")
DAYS, TRACES_A_DAY = 7, 4
SPANS_A_TRACE = 3
QUESTIONS = ("Where is my parcel?", "How do I return a shoe?", "Which size fits me?", "Can I pay later?")
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5")
ANSWER, PARCEL = "It is on its way.", '{"parcel": 7}'
SECOND = 1_000_000_000


def conversations(first: date) -> list[tuple[str, int, str, str, bool]]:
    """Project, start in nanoseconds, question, model, and whether the tool fails; the same for a day every time."""
    chance = random.Random(7)  # noqa: S311 - sample data
    found = []
    for project in PROJECTS:
        for number in range(DAYS * TRACES_A_DAY):
            day = datetime(first.year, first.month, first.day, tzinfo=UTC) + timedelta(days=number // TRACES_A_DAY)
            start = int(day.timestamp()) * SECOND + chance.randrange(86_000) * SECOND
            found.append((project, start, chance.choice(QUESTIONS), chance.choice(MODELS), chance.random() < 0.1))
    return found


def to_phoenix(address: str, first: date) -> None:
    """By `phoenix.otel`, with OpenInference's attributes."""
    from opentelemetry.trace import Status, StatusCode
    from phoenix.otel import register

    for project in PROJECTS:
        provider = register(
            endpoint=f"{address}/v1/traces", protocol="http/protobuf", project_name=project,
            batch=True, set_global_tracer_provider=False, verbose=False,
        )  # fmt: skip
        tracer = provider.get_tracer("demo")

        for _, start, question, model, fails in (each for each in conversations(first) if each[0] == project):
            root = _span(tracer, ("answer", "AGENT"), start, {"input.value": question, "output.value": ANSWER})
            tokens = dict(zip(("prompt", "completion", "total"), _tokens(question), strict=True))
            given: dict[str, Any] = {"input.value": question, "output.value": ANSWER, "llm.model_name": model}
            given |= {f"llm.token_count.{name}": count for name, count in tokens.items()}
            call = _span(tracer, ("model", "LLM"), start + SECOND, given, root)
            tool = _span(tracer, ("look up", "TOOL"), start + 2 * SECOND, {"input.value": PARCEL}, root)
            if fails:
                tool.set_status(Status(StatusCode.ERROR, "no such parcel"))
            for ended, seconds in ((call, 2), (tool, 3), (root, 4)):
                ended.end(end_time=start + seconds * SECOND)
        provider.force_flush()
        provider.shutdown()


def _span(tracer: Any, what: tuple[str, str], start: int, given: dict[str, Any], parent: Any = None) -> Any:
    """Of a name and a kind."""
    from opentelemetry import trace

    context = None if parent is None else trace.set_span_in_context(parent)
    attributes = {"openinference.span.kind": what[1], **given}
    return tracer.start_span(what[0], context=context, start_time=start, attributes=attributes)


def _tokens(question: str) -> tuple[int, int, int]:
    """Of the prompt, of the answer, and of both."""
    return 12 * len(question), len(question), 13 * len(question)


def to_mlflow(address: str, first: date) -> None:
    """By `mlflow`'s tracing."""
    import mlflow
    from mlflow.entities import SpanStatus
    from mlflow.store.tracking.rest_store import RestStore
    from packaging.version import Version

    # The SDK waits three seconds for the server's version, and takes a server that is slower for an old one, whose
    # spans lie in files and not in the database. This server is of the same package.
    RestStore._get_server_version = staticmethod(lambda _: Version(mlflow.__version__))  # noqa: SLF001
    mlflow.set_tracking_uri(address)
    project = ""
    for name, start, question, model, fails in conversations(first):
        if name != project:
            project = name
            mlflow.set_experiment(name)
        begin, later = mlflow.start_span_no_context, start + SECOND
        root = begin("answer", span_type="AGENT", inputs={"question": question}, start_time_ns=start)
        prompt, completion, total = _tokens(question)
        tokens = {"input_tokens": prompt, "output_tokens": completion, "total_tokens": total}
        given = {"mlflow.chat.tokenUsage": tokens, "mlflow.llm.model": model}
        call = begin("model", "CHAT_MODEL", root, inputs={"prompt": question}, attributes=given, start_time_ns=later)
        call.end(outputs=ANSWER, end_time_ns=start + 2 * SECOND)
        tool = begin(
            "look up", span_type="TOOL", parent_span=root, inputs={"parcel": 7}, start_time_ns=start + 2 * SECOND
        )
        tool.end(status=SpanStatus("ERROR", "no such parcel") if fails else None, end_time_ns=start + 3 * SECOND)
        root.end(outputs={"answer": ANSWER}, end_time_ns=start + 4 * SECOND)
    mlflow.flush_trace_async_logging()


if __name__ == "__main__":
    senders: dict[str, Callable[[str, date], None]] = {"phoenix": to_phoenix, "mlflow": to_mlflow}
    senders[sys.argv[1]](sys.argv[2], date.fromisoformat(sys.argv[3]))
