"""Traces of five spans in a running Phoenix: `write` them by its own protocol, or read a day as its users do.

Runs in the environment of `make stores`.
"""

import sys
from pathlib import Path
from runpy import run_path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from measured import options, run
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from phoenix.client import Client

TESTS = run_path(str(HERE.parents[1] / "export_pipeline_tests" / "sources" / "presets" / "phoenix_process.py"))

given = options()
SPANS = 5
AT_ONCE = 100


def write() -> dict[str, Any]:
    """Sends the traces, which Phoenix stores when it gets to it."""
    exporter = OTLPSpanExporter(endpoint=f"{given['address']}/v1/traces")
    value = f'{{"messages": [{{"role": "user", "content": "{given["text"]}"}}]}}'
    attributes = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 12, "input.mime_type": "application/json"}
    attributes |= {"input.value": value, "output.value": value, "output.mime_type": "application/json"}
    traces = given["rows"] // SPANS
    for first in range(0, traces, AT_ONCE):
        spans = []
        for trace in range(first, min(first + AT_ONCE, traces)):
            own = [1 + trace * SPANS + number for number in range(SPANS)]
            for number in reversed(range(SPANS)):
                parent = own[number - 1] if number else None
                spans.append(
                    TESTS["span"](trace + 1, own[number], parent, "step", trace * 80_000 / traces + number, attributes)
                )
        assert exporter.export(spans).name == "SUCCESS"
    return {"rows": given["rows"]}


def read() -> dict[str, Any]:
    """All spans in a dataframe."""
    frame = Client(base_url=given["address"]).spans.get_spans_dataframe(
        project_identifier=TESTS["PROJECT"], limit=given["rows"], timeout=3600
    )
    return {"rows": len(frame)}


run(write if given["write"] else read)
