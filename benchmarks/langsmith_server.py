"""A LangSmith with one project and one day of so many runs, kept in a file as pages have them: newest first.

So it takes little of the machine that it shares with who reads it. Called with the number of runs and the characters of
each payload; the first line that it prints is its port. `GET /asked` answers how many questions about runs it was
asked.
"""

import json
import os
import re
import sys
import tempfile
from array import array
from datetime import UTC, date, datetime, time, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from typing import Any

DAY = date(2026, 3, 14)
MIDNIGHT = datetime.combine(DAY, time(), UTC)
PROJECT = {"id": "3c5f76e2-b4dd-474b-aab3-c0e5d925e80b", "name": "chat", "tenant_id": None}
MICROSECOND = timedelta(microseconds=1)
WORDS = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor "
BOUND = re.compile(r'(gte|lt)\(start_time, "([^"]+)"\)')
A_TRACE = 4
"""Runs: a root and its children."""


class Day:
    """Runs at equal distances over the day, by their numbers."""

    def __init__(self, runs: int, characters: int) -> None:
        self.runs, self._characters = runs, characters
        self._words = WORDS * (characters // len(WORDS) + 2)
        self._distance = timedelta(days=1) / MICROSECOND / runs
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._ends = array("q", [0]) * (runs + 1)
        """Where each run ends in the file, which begins with the last one."""
        for number in reversed(range(runs)):
            self._file.write(f"{self._run(number)},".encode())
            self._ends[number] = self._file.tell()
        self._file.flush()

    def first_from(self, at: str) -> int:
        """The number of the first run that starts then or later."""
        wanted = datetime.fromisoformat(at)
        number = min(self.runs, max(0, ceil((wanted - MIDNIGHT) / MICROSECOND / self._distance) - 1))
        while number < self.runs and self._start(number) < wanted:
            number += 1
        return number

    def _start(self, number: int) -> datetime:
        return MIDNIGHT + int(number * self._distance) * MICROSECOND

    def _run(self, number: int) -> str:
        """As the API's second version writes it."""
        first = number - number % A_TRACE
        start, own, trace = self._start(number), _id(number), _id(first)
        path = f"{_stamp(start)}{own}"
        if number != first:
            path = f"{_stamp(self._start(first))}{trace}.{path}"
        at, words = f"{start:%Y-%m-%dT%H:%M:%S.%f}Z", self._words[number % len(WORDS) :][: self._characters]
        return (
            f'{{"id":"{own}","name":"ChatOpenAI","run_type":"LLM","status":"SUCCESS","start_time":"{at}","end_time":'
            f'"{at}","first_token_time":null,"error":null,"extra":{{"invocation_params":{{"model":"gpt-4o"}}}},'
            f'"metadata":{{"thread_id":"t-{number % 1000}"}},"events":[{{"name":"start","time":"{at}"}}],"inputs":'
            f'{{"messages":[{{"role":"user","content":"{number} {words}"}}]}},"outputs":{{"text":"{words}"}},'
            f'"parent_run_ids":{"[]" if number == first else json.dumps([trace])},"project_id":"{PROJECT["id"]}",'
            f'"trace_id":"{trace}","dotted_order":"{path}","is_root":{json.dumps(number == first)},"tags":["prod"],'
            f'"reference_example_id":null,"total_tokens":{60 + number % 50},"prompt_tokens":{20 + number % 50},'
            f'"completion_tokens":40,"total_cost":0.00{10 + number % 90},"prompt_cost":0.001,"completion_cost":0.0005,'
            '"feedback_stats":{}}'
        )

    def page(self, asked: dict[str, Any]) -> bytes:
        """The answer to a question for runs, newest first; the cursor is the number of the first run of the page."""
        first, end = self.first_from(asked["min_start_time"]), self.first_from(asked["max_start_time"])
        end = int(asked.get("cursor") or end)
        begin = max(first, end - asked["page_size"])
        size = self._ends[begin] - self._ends[end] - 1 if begin < end else 0
        runs = os.pread(self._file.fileno(), size, self._ends[end])
        return b'{"items":[%b],"next_cursor":%b}' % (runs, json.dumps(str(begin) if begin > first else None).encode())

    def stats(self, asked: dict[str, Any]) -> bytes:
        """The answer to a question for statistics; none of the runs is pending."""
        bounds = dict(BOUND.findall(asked.get("filter") or ""))
        first = self.first_from(bounds.get("gte", asked["start_time"]))
        found = (self.first_from(bounds["lt"]) if "lt" in bounds else self.runs) - first
        rows = 0 if "pending" in (asked.get("filter") or "") else max(0, found)
        return json.dumps({"run_count": rows}).encode()


def _id(number: int) -> str:
    return f"0190aaaa-0000-7000-8000-{number:012x}"


def _stamp(start: datetime) -> str:
    return f"{start:%Y%m%dT%H%M%S%f}Z"


def serve(day: Day) -> None:
    """Answers until it is ended."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            self._answer(json.dumps(len(asked) if self.path == "/asked" else [PROJECT]).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "project_ids" not in body and "session" not in body:
                self._answer(b"{}", status=422)
                return
            asked.append(self.path)
            self._answer(day.stats(body) if self.path.endswith("/stats") else day.page(body))

        def _answer(self, content: bytes, *, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    serve(Day(*map(int, sys.argv[1:])))
