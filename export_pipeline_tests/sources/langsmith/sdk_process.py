"""Run by the Python of `make stores`: writes runs by LangSmith's own SDK, then says how that SDK reads them back.

Called with the address of the API, the key and the name of a project; the answer is JSON on standard output.
"""

import asyncio
import base64
import datetime
import json
import sys
import uuid
from typing import Any

ATTACHMENTS = {"photo zoé": ("image/png", b"\x89PNG\r\n\x1a\n\0--\r\n"), "empty": ("text/plain", b"")}
MIDNIGHT = datetime.datetime(2026, 3, 14, tzinfo=datetime.UTC)


def run_id(number: int) -> str:
    """The id of a run."""
    return str(uuid.UUID(int=0xA0000000_0000_4000_8000_000000000000 + number))


def segment(at: datetime.datetime, number: int) -> str:
    """A run's part of its `dotted_order`."""
    return f"{at:%Y%m%dT%H%M%S%f}Z{run_id(number)}"


def write(client: Any, project: str) -> None:
    """A trace with everything that a run can have, runs on both borders of the day, and one that is under way."""
    client.create_project(project)
    hour = MIDNIGHT + datetime.timedelta(hours=1, microseconds=123_456)
    call, tool = hour + datetime.timedelta(microseconds=1), hour + datetime.timedelta(seconds=2)
    common = {"project_name": project, "trace_id": run_id(1)}
    client.create_run(
        "answer",
        {"question": "Where is my parcel? ✈", "n": 12345678901234567890, "rate": 0.1},
        "chain",
        id=run_id(1),
        start_time=hour,
        dotted_order=segment(hour, 1),
        extra={"metadata": {"env": "prod", "thread_id": "t-1"}},
        tags=["gold", "ünïcode"],
        **common,
    )
    path = f"{segment(hour, 1)}.{segment(call, 2)}"
    events = [{"name": "new_token", "time": (call + datetime.timedelta(seconds=1)).isoformat()}]
    client.create_run(
        "gpt",
        {"messages": [{"role": "user", "content": "Where is my parcel?"}]},
        "llm",
        id=run_id(2),
        parent_run_id=run_id(1),
        start_time=call,
        dotted_order=path,
        extra={"invocation_params": {"temperature": 0.5}},
        **common,
    )
    client.update_run(
        run_id(2), outputs={"text": "On its way"}, end_time=tool, events=events, trace_id=run_id(1), dotted_order=path
    )
    client.create_run(
        "look up",
        {"parcel": 7},
        "tool",
        id=run_id(3),
        parent_run_id=run_id(2),
        start_time=tool,
        end_time=tool,
        error="ValueError: boom\nTraceback",
        dotted_order=f"{path}.{segment(tool, 3)}",
        **common,
    )
    client.update_run(run_id(1), outputs={"answer": None}, end_time=tool, trace_id=run_id(1))
    last = MIDNIGHT + datetime.timedelta(days=1)
    for number, start in enumerate((MIDNIGHT, last - datetime.timedelta(microseconds=1), last), 4):
        client.create_run(
            f"border {number}",
            {},
            "retriever",
            id=run_id(number),
            project_name=project,
            trace_id=run_id(number),
            start_time=start,
            dotted_order=segment(start, number),
        )
    seen = hour + datetime.timedelta(seconds=3)
    run = {"id": run_id(6), "trace_id": run_id(6), "session_name": project, "name": "look", "run_type": "chain"}
    times = {"start_time": seen, "end_time": seen, "dotted_order": segment(seen, 6)}
    payloads = {"inputs": {"what": "this"}, "outputs": {}, "attachments": ATTACHMENTS}
    client.multipart_ingest(create=[{**run, **times, **payloads}])
    client.create_feedback(run_id(2), key="helpful", score=1, trace_id=run_id(1))
    client.create_feedback(
        run_id(2),
        key="helpful",
        score=0.5,
        value="so, so ✈",
        comment='it said "no"',
        correction={"text": "yes", "n": 12345678901234567890},
        trace_id=run_id(1),
    )


async def read(client: Any, project: str) -> list[dict[str, Any]]:
    """The runs of the day."""
    selects = (
        "ID PROJECT_ID TRACE_ID PARENT_RUN_IDS NAME RUN_TYPE START_TIME END_TIME STATUS IS_ROOT DOTTED_ORDER INPUTS "
        "OUTPUTS EXTRA METADATA ATTACHMENTS EVENTS FEEDBACK_STATS TAGS ERROR TOTAL_TOKENS PROMPT_TOKENS "
        "COMPLETION_TOKENS TOTAL_COST PROMPT_COST COMPLETION_COST"
    )
    query = client.runs.query_v2(
        project_ids=[project],
        min_start_time=MIDNIGHT,
        max_start_time=MIDNIGHT + datetime.timedelta(days=1),
        selects=selects.split(),
        page_size=2,
    )
    return [run.model_dump(mode="json", exclude_unset=True) async for run in query]


def fetched(runs: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The attachments of each run that has any, in base64."""
    import requests

    named = {run["id"]: run["attachments"] for run in runs if run["attachments"]}
    return {
        run: {name: base64.b64encode(requests.get(url, timeout=60).content).decode() for name, url in files.items()}
        for run, files in named.items()
    }


def main(address: str, key: str, name: str) -> None:
    """Writes, and reads back."""
    from langsmith import Client

    client = Client(api_url=address, api_key=key, auto_batch_tracing=False)
    write(client, name)
    (project,) = [each for each in client.list_projects() if each.name == name]
    feedback = [each.model_dump(mode="json") for each in client.list_feedback(run_ids=[run_id(2)])]
    runs = asyncio.run(read(client, str(project.id)))
    told = {"runs": runs, "feedback": feedback, "attachments": fetched(runs)}
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
