"""Run by the Python of `make stores`: writes traces into a database by MLflow's own SDK, then says what its API says.

Called with the SQLAlchemy URL of the database; the answer is JSON on standard output.
"""

import json
import os
import sys
from typing import Any

PROJECT, OTHER = "support bot", "evaluation"
MIDNIGHT = 1_773_446_400_000_000_000  # 2026-03-14T00:00:00Z in nanoseconds


def at(seconds: float) -> int:
    """Nanoseconds of an instant so many seconds after midnight; what is finer than a microsecond is cut off."""
    return MIDNIGHT + round(seconds * 1_000_000) * 1_000 + 789


def chat() -> str:
    """A trace with everything that a span can have; gives back its id."""
    import mlflow
    from mlflow.entities import SpanEvent, SpanStatus

    root = mlflow.start_span_no_context(
        name="answer",
        span_type="AGENT",
        inputs={"question": "Where is my parcel?"},
        tags={"env": "prod"},
        metadata={"mlflow.trace.session": "thread-1", "mlflow.trace.user": "user-1"},
        start_time_ns=at(3600),
    )
    model = mlflow.start_span_no_context(
        name="gpt",
        span_type="CHAT_MODEL",
        parent_span=root,
        inputs={"messages": [{"role": "user", "content": "Où est mon colis ✈?"}]},
        attributes={
            "mlflow.chat.tokenUsage": {"input_tokens": 1_200, "output_tokens": 34, "total_tokens": 1_234},
            "mlflow.llm.cost": {"input_cost": 0.1234567, "output_cost": 0.00002, "total_cost": 0.1234767},
            "mlflow.llm.model": "gpt-4o-mini",
            "mlflow.llm.provider": "openai",
            "temperature": 0.5,
        },
        start_time_ns=at(3601.25),
    )
    model.add_event(SpanEvent("chunk", timestamp=at(3601.5), attributes={"size": 3}))
    tool = mlflow.start_span_no_context(
        name="look up", span_type="TOOL", parent_span=model, inputs="parcel 7", start_time_ns=at(3601.5)
    )
    tool.add_event(SpanEvent("exception", timestamp=at(3602), attributes=_raised()))
    tool.end(status=SpanStatus("ERROR", "ValueError: boom"), end_time_ns=at(3602))
    model.end(outputs="On its way", end_time_ns=at(3603))
    search = mlflow.start_span_no_context(
        name="search", span_type="RETRIEVER", parent_span=root, start_time_ns=at(3603)
    )
    search.end(outputs=[{"page_content": "a page"}], end_time_ns=at(3603.5))
    root.end(outputs={"answer": "On its way"}, end_time_ns=at(3604))
    return str(root.trace_id)


def _raised() -> dict[str, str]:
    return {"exception.type": "ValueError", "exception.message": "boom", "exception.stacktrace": "Traceback: boom"}


def over_midnight(name: str) -> None:
    """A trace that begins the day before, with a run on each side of midnight."""
    import mlflow

    root = mlflow.start_span_no_context(name=f"{name} root", start_time_ns=at(-1))
    before = mlflow.start_span_no_context(name=f"{name} before", parent_span=root, start_time_ns=at(-0.000001))
    after = mlflow.start_span_no_context(name=f"{name} after", parent_span=before, start_time_ns=at(0))
    for span in (after, before, root):
        span.end(end_time_ns=at(1))


def main(url: str) -> None:
    """Writes the traces and their assessments; the answer lists the spans of `mlflow.search_traces`."""
    import mlflow
    from mlflow.entities import AssessmentSource

    mlflow.set_tracking_uri(url)
    mlflow.set_experiment(PROJECT)
    trace = chat()
    for name in ("one", "another"):
        over_midnight(name)
    mlflow.set_experiment(OTHER)
    over_midnight("other")
    mlflow.flush_trace_async_logging()
    human = AssessmentSource("HUMAN", "somebody")
    mlflow.log_feedback(trace_id=trace, name="helpful", value=True, rationale="because", source=human)
    mlflow.log_feedback(trace_id=trace, name="helpful", value=False, source=human)
    mlflow.log_feedback(trace_id=trace, name="tone", value="friendly", source=human)
    mlflow.log_expectation(trace_id=trace, name="expected", value={"answer": "On its way"})
    gpt = next(span for span in mlflow.get_trace(trace).data.spans if span.name == "gpt")
    mlflow.log_feedback(trace_id=trace, span_id=gpt.span_id, name="length", value=0.25)
    experiments = [mlflow.get_experiment_by_name(name).experiment_id for name in (PROJECT, OTHER)]
    found: list[Any] = mlflow.search_traces(locations=experiments, return_type="list")
    told = [
        [span.trace_id, span.span_id, span.parent_id, span.name, span.start_time_ns, span.end_time_ns, str(span.status)]
        for each in found
        for span in each.data.spans
    ]
    sys.stdout.write(f"{json.dumps({'trace': trace, 'spans': told})}\n")
    sys.stdout.flush()
    os._exit(0)  # all is stored; a busy machine has seen MLflow's threads fail while the interpreter ends


if __name__ == "__main__":
    main(sys.argv[1])
