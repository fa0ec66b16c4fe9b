"""Run by the Python of `make stores`: writes a trace by Langfuse's own SDK, then says how that SDK reads it back.

Called with the address of the API and both keys; the answer is JSON on standard output.
"""

import datetime
import json
import sys
from typing import Any

FIELDS = "core,basic,time,io,metadata,model,usage,trace_context"


def write(client: Any) -> None:
    """A trace with a generation, a tool that fails, and everything that an observation can have."""
    from langfuse import propagate_attributes

    of_trace = propagate_attributes(user_id="ann", session_id="thread-1", tags=["gold", "ünï"], trace_name="support")
    begin, question = client.start_as_current_observation, {"question": "Where? ✈"}
    with of_trace, begin(name="answer", as_type="chain", input=question) as root:
        with begin(
            name="gpt",
            as_type="generation",
            model="gpt-4o",
            model_parameters={"temperature": 0.5},
            input=[{"role": "user", "content": "Where is my parcel?"}],
            metadata={"long": "x" * 1_000, "short": "y"},
            completion_start_time=datetime.datetime.now(datetime.UTC),
        ) as generation:
            generation.update(
                output="On its way",
                usage_details={"input": 12, "output": 3, "total": 15},
                cost_details={"input": 0.00012, "output": 0.1, "total": 0.10012},
            )
        with begin(name="look up", as_type="tool") as tool:
            tool.update(level="ERROR", status_message="no such parcel")
        root.update(output={"text": "On its way"})
    client.flush()


def read(client: Any) -> list[dict[str, Any]]:
    """All observations, as the SDK's client for the API tells them."""
    now = datetime.datetime.now(datetime.UTC)
    window = {"from_start_time": now - datetime.timedelta(hours=1), "to_start_time": now + datetime.timedelta(hours=1)}
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = client.api.observations.get_many(fields=FIELDS, expand_metadata="long", limit=2, cursor=cursor, **window)
        found += [json.loads(each.json()) for each in page.data]
        cursor = page.meta.cursor
        if cursor is None:
            return found


if __name__ == "__main__":
    from langfuse import Langfuse

    base, public, secret = sys.argv[1:]
    langfuse = Langfuse(base_url=base, public_key=public, secret_key=secret)
    write(langfuse)
    sys.stdout.write(json.dumps(read(langfuse)) + "\n")
