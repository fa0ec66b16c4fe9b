"""A stand-in for LangSmith: takes runs as its SDK writes them, answers as its API does, refuses what that refuses.

Strict where the API is: pages over the limit, names that it does not know, missing bounds, a wrong key. Runs are listed
newest first. What it answers next can be changed, so that it plays every fault of a server and of the way to it.
"""

import base64
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from export_pipeline.runs.filter import read_filter
from export_pipeline.runs.filter_tree import And, Compare, Filter, Has, Or
from export_pipeline_tests.servers.http import Answer, Asked, HttpServer, http_server

KEY = "lsv2_sk_canary_7f3a9c"
TENANT = "0c7e9a52-33b4-4a43-8f0f-2d9a7be41d10"

Run = dict[str, Any]
Fault = Callable[[Asked, Answer], Answer]

_V2_FIELDS = frozenset(
    (
        *(
            "ID",
            "NAME",
            "RUN_TYPE",
            "STATUS",
            "START_TIME",
            "END_TIME",
            "FIRST_TOKEN_TIME",
            "ERROR",
            "EXTRA",
            "METADATA",
        ),
        *("EVENTS", "INPUTS", "OUTPUTS", "PARENT_RUN_IDS", "PROJECT_ID", "TRACE_ID", "DOTTED_ORDER"),
        *(
            "IS_ROOT",
            "TAGS",
            "REFERENCE_EXAMPLE_ID",
            "TOTAL_TOKENS",
            "PROMPT_TOKENS",
            "COMPLETION_TOKENS",
            "TOTAL_COST",
        ),
        *("PROMPT_COST", "COMPLETION_COST", "FEEDBACK_STATS", "LATENCY_SECONDS", "THREAD_ID", "ATTACHMENTS"),
    )
)
_V1_FIELDS = frozenset(
    (
        *(
            "id",
            "session_id",
            "trace_id",
            "parent_run_id",
            "parent_run_ids",
            "name",
            "run_type",
            "status",
            "start_time",
        ),
        *(
            "end_time",
            "first_token_time",
            "error",
            "extra",
            "events",
            "inputs",
            "outputs",
            "dotted_order",
            "trace_tier",
        ),
        *("reference_example_id", "total_tokens", "prompt_tokens", "completion_tokens", "total_cost"),
        *("prompt_cost", "completion_cost", "tags", "feedback_stats", "s3_urls"),
    )
)
_V2_BODY = frozenset({"project_ids", "min_start_time", "max_start_time", "selects", "page_size", "cursor", "filter"})
_V2_SDK = frozenset({"is_root", "run_type", "has_error", "ids", "trace_id", "include_subtree_usage"})
_TOKENS = ("total_tokens", "prompt_tokens", "completion_tokens")
_COSTS = ("total_cost", "prompt_cost", "completion_cost")


class _RefusedError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.answer = Answer(status, json.dumps({"detail": detail}).encode())


@dataclass
class LangSmith:
    """What it holds; a test may change all of it at any time.

    `has_v2`: whether it is one of version 0.16 or later. `upper_is_inside`, `lower_is_inside`: whether a run that
    starts at a bound of a query is listed. `unknown`: selects that it does not know. `faults` change the next answers
    of paths that end with a text, one each; `always` changes all of them. `files` are the bytes of attachments by run
    and name; their addresses lie at `storage`, and hold while their signatures are among `signatures`.
    """

    projects: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    has_v2: bool = True
    lower_is_inside: bool = True
    upper_is_inside: bool = False
    unknown: frozenset[str] = frozenset()
    lock: threading.RLock = field(default_factory=threading.RLock)
    server: HttpServer | None = None
    storage: str = "https://storage.example"
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    signatures: set[str] = field(default_factory=set)

    @property
    def port(self) -> int:
        assert self.server is not None
        return self.server.port

    @property
    def source_url(self) -> str:
        """As the settings name it."""
        return f"langsmith+http://127.0.0.1:{self.port}"

    def asked(self, path: str) -> list[dict[str, Any]]:
        """The bodies of the requests to paths that end so."""
        assert self.server is not None
        return [json.loads(each.body or b"{}") for each in list(self.server.asked) if _path(each).endswith(path)]

    def add_project(self, name: str, *, start: datetime, **more: Any) -> str:
        """Its id."""
        key = str(uuid.uuid4())
        ids = {"id": key, "tenant_id": TENANT, "reference_dataset_id": None}
        self.projects[key] = {**ids, "name": name, "start_time": start.isoformat(), **more}
        return key

    def add_run(self, project: str, start: datetime, **more: Any) -> str:
        """The id of a root run that has ended, unless `more` says otherwise."""
        key = more.pop("id", None) or str(uuid.uuid4())
        stamp = f"{start:%Y%m%dT%H%M%S%f}Z"
        run = {
            "id": key,
            "session_id": project,
            "trace_id": key,
            "name": "a run",
            "run_type": "chain",
            "start_time": _iso(start),
            "end_time": _iso(start),
            "dotted_order": f"{stamp}{key}",
            "inputs": {"text": "hello"},
            "outputs": {"text": "world"},
            "extra": {},
            **more,
        }
        with self.lock:
            self.runs[key] = run
        return key

    def play(self, path: str, *faults: Fault) -> None:
        """The next answers to a path that ends so are changed, one by each."""
        self.faults.setdefault(path, []).extend(faults)

    def answer(self, asked: Asked) -> Answer:
        """What the server says, faults included."""
        try:
            with self.lock:
                found = self._answer(asked)
        except _RefusedError as refused:
            found = refused.answer
        for path, faults in self.faults.items():
            if _path(asked).endswith(path) and faults:
                return faults.pop(0)(asked, found)
        for path, fault in self.always.items():
            if _path(asked).endswith(path):
                return fault(asked, found)
        return found

    def _answer(self, asked: Asked) -> Answer:
        if _path(asked).startswith("/files/"):
            return self._file(asked)
        headers = {name.lower(): value for name, value in asked.headers.items()}
        if headers.get("x-api-key") != KEY:
            raise _RefusedError(401 if "x-api-key" not in headers else 403, f"no such key: {headers.get('x-api-key')}")
        if headers.get("x-tenant-id", TENANT) != TENANT:
            raise _RefusedError(403, "this key has no access to that workspace")
        path = _path(asked)
        body = json.loads(asked.body) if asked.body and not path.endswith("/multipart") else {}
        if path == "/api/v2/runs/query" and self.has_v2:
            return self._query_v2(body)
        path = path.removeprefix("/api/v1")
        calls: dict[tuple[str, str], Callable[[], Answer]] = {
            ("GET", "/info"): lambda: _json({"version": "0.16.3" if self.has_v2 else "0.12.0"}),
            ("POST", "/runs/query"): lambda: self._query_v1(body),
            ("POST", "/runs/stats"): lambda: self._stats(body),
            ("GET", "/sessions"): lambda: self._sessions(parse_qs(urlsplit(asked.path).query)),
            ("POST", "/sessions"): lambda: self._create_session(body),
            ("POST", "/runs"): lambda: self._ingest(body),
            ("POST", "/runs/multipart"): lambda: self._ingest_parts(headers["content-type"], asked.body),
            ("POST", "/feedback"): lambda: self._take_feedback(body),
            ("GET", "/feedback"): lambda: self._list_feedback(parse_qs(urlsplit(asked.path).query)),
        }
        if (asked.method, path) in calls:
            return calls[asked.method, path]()
        if asked.method == "PATCH" and path.startswith("/runs/"):
            self.runs[path.rpartition("/")[2]].update(
                {name: value for name, value in body.items() if value is not None}
            )
            return _json({})
        raise _RefusedError(404, "Not Found")

    def _create_session(self, body: dict[str, Any]) -> Answer:
        key = self.add_project(body["name"], start=datetime(2026, 1, 1, tzinfo=UTC))
        return _json(self.projects[key])

    def _ingest(self, body: dict[str, Any]) -> Answer:
        name = body.pop("session_name", "default")
        project = next(key for key, each in self.projects.items() if each["name"] == name)
        self.runs[body["id"]] = {"trace_id": body["id"], **body, "session_id": project}
        return _json({})

    def _ingest_parts(self, content_type: str, body: bytes) -> Answer:
        """Runs in parts: each by itself, then its payloads, each by its name, then the bytes of its attachments."""
        for name, kind, content in _parts(content_type, body):
            what, key, *rest = name.split(".")
            if what == "attachment":
                self.runs[key].setdefault("attachments", {})[rest[0]] = kind
                self.files[key, rest[0]] = content
            elif what != "post":
                raise _RefusedError(422, f"unknown part {name}")
            elif rest:
                self.runs[key][rest[0]] = json.loads(content)
            else:
                self._ingest(json.loads(content))
        return _json({})

    def _take_feedback(self, body: dict[str, Any]) -> Answer:
        self.feedback.append(body)
        return _json(body)

    def _list_feedback(self, query: dict[str, list[str]]) -> Answer:
        """Newest first."""
        limit, offset = int(query.get("limit", ["100"])[0]), int(query.get("offset", ["0"])[0])
        if not 1 <= limit <= 100 or offset < 0:
            raise _RefusedError(422, "limit must be at most 100")
        if unknown := sorted(query.keys() - {"run", "limit", "offset", "key", "source"}):
            raise _RefusedError(422, f"unknown parameters {unknown}")
        listed = [each for each in self.feedback if each["run_id"] in query.get("run", [])]
        listed.sort(key=lambda each: str(each.get("created_at") or ""), reverse=True)
        records = [_object(_feedback_record(each)) for each in listed[offset : offset + limit]]
        return Answer(200, f"[{', '.join(records)}]".encode(), {"Content-Type": "application/json"})

    def _sessions(self, query: dict[str, list[str]]) -> Answer:
        limit, offset = int(query.get("limit", ["100"])[0]), int(query.get("offset", ["0"])[0])
        if not 1 <= limit <= 100:
            raise _RefusedError(422, "limit must be at most 100")
        names = query.get("name")
        found = [each for each in self.projects.values() if names is None or each["name"] in names]
        oldest_first = query.get("sort_by_desc", ["true"])[0] == "false"
        found.sort(key=lambda each: (each["start_time"], each["id"]), reverse=not oldest_first)
        return _json(found[offset : offset + limit])

    def _query_v2(self, body: dict[str, Any]) -> Answer:
        if unknown := sorted(body.keys() - _V2_BODY - _V2_SDK):
            raise _RefusedError(422, f"unknown fields {unknown}")
        if not {"project_ids", "min_start_time", "max_start_time"} <= body.keys():
            raise _RefusedError(422, "project_ids, min_start_time and max_start_time are required")
        size, selects = body.get("page_size", 100), body.get("selects", ["ID"])
        if not 1 <= size <= 1000:
            raise _RefusedError(422, "page_size must be between 1 and 1000")
        if unknown := sorted(set(selects) - _V2_FIELDS | (set(selects) & self.unknown)):
            raise _RefusedError(422, f"unknown selects {unknown}")
        first, last = _read(body["min_start_time"]), _read(body["max_start_time"])
        listed, cursor = self._page(self._of(body["project_ids"], first, last, body), body.get("cursor"), size)
        return _listing(
            "items", [self._shown_v2(run, selects) for run in listed], f'"next_cursor":{json.dumps(cursor)}'
        )

    def _query_v1(self, body: dict[str, Any]) -> Answer:
        size, selects = body.get("limit", 100), body.get("select", ["id"])
        if not 1 <= size <= 100:
            raise _RefusedError(400, "limit must be at most 100")
        if unknown := sorted(set(selects) - _V1_FIELDS | (set(selects) & self.unknown)):
            raise _RefusedError(422, f"unknown select {unknown}")
        first = _read(body["start_time"])
        runs = self._of(body["session"], first, datetime.max.replace(tzinfo=UTC), body)
        listed, cursor = self._page(runs, body.get("cursor"), size)
        return _listing(
            "runs", [self._shown_v1(run, selects) for run in listed], f'"cursors":{{"next":{json.dumps(cursor)}}}'
        )

    def _stats(self, body: dict[str, Any]) -> Answer:
        first = _read(body["start_time"])
        runs = self._of(body["session"], first, datetime.max.replace(tzinfo=UTC), body)
        ids = {run["id"] for run in runs}
        given = [each for each in self.feedback if each["run_id"] in ids]
        answer: dict[str, Any] = {
            "run_count": len(runs),
            "latency_p50": 1.5,
            "error_rate": sum(_status(run) == "error" for run in runs) / len(runs) if runs else None,
            "feedback_stats": _feedback(given) or None,
        }
        for name in (*_TOKENS, *_COSTS):
            answer[name] = float(sum(run.get(name) or 0 for run in runs))
        for name in _TOKENS:
            answer[name] = int(answer[name])
        return _json(answer)

    def _of(self, projects: list[str], first: datetime, last: datetime, body: dict[str, Any]) -> list[Run]:
        """The runs of a query, newest first."""
        if unknown := sorted(set(projects) - self.projects.keys()):
            raise _RefusedError(404, f"Session not found: {unknown}")
        tree = None if body.get("filter") is None else read_filter(body["filter"])
        found = []
        for run in self.runs.values():
            start = _read(run["start_time"])
            inside = first < start < last or (start == first and self.lower_is_inside)
            inside = inside or (start == last and self.upper_is_inside)
            if run["session_id"] in projects and inside and (tree is None or _matches(tree, run)):
                found.append(run)
        return sorted(found, key=lambda run: (_read(run["start_time"]), run["id"]), reverse=True)

    def _page(self, runs: list[Run], cursor: str | None, size: int) -> tuple[list[Run], str | None]:
        if cursor is not None:
            start, key = json.loads(base64.b64decode(cursor))
            runs = [run for run in runs if (_read(run["start_time"]), run["id"]) < (_read(start), key)]
        listed = runs[:size]
        if len(runs) <= size:
            return listed, None
        last = listed[-1]
        return listed, base64.b64encode(json.dumps([last["start_time"], last["id"]]).encode()).decode()

    def _shown_v2(self, run: Run, selects: list[str]) -> str:
        ancestors = [part[-36:] for part in (run.get("dotted_order") or "").split(".")[:-1]]
        extra = dict(run.get("extra") or {})
        metadata = extra.pop("metadata", None)
        shown = {
            **{name.upper(): value for name, value in run.items()},
            "PROJECT_ID": run["session_id"],
            "PARENT_RUN_IDS": ancestors,
            "IS_ROOT": not ancestors,
            "STATUS": _status(run).upper(),
            "RUN_TYPE": run["run_type"].upper(),
            "EXTRA": extra,
            "METADATA": metadata,
            "FEEDBACK_STATS": self._feedback_of(run),
            "ATTACHMENTS": {name: self._signed(run, name) for name in run.get("attachments") or ()} or None,
        }
        return _object({name.lower(): shown.get(name) for name in selects})

    def _shown_v1(self, run: Run, selects: list[str]) -> str:
        ancestors = [part[-36:] for part in (run.get("dotted_order") or "").split(".")[:-1]]
        shown = {**run, "status": _status(run), "feedback_stats": self._feedback_of(run)}
        shown["parent_run_ids"] = ancestors
        shown["parent_run_id"] = ancestors[-1] if ancestors else None
        shown["s3_urls"] = {
            f"attachment.{name}": {"presigned_url": self._signed(run, name), "mime_type": kind}
            for name, kind in (run.get("attachments") or {}).items()
        }
        for name in _COSTS:
            shown[name] = None if run.get(name) is None else str(run[name])
        return _object({name: shown.get(name) for name in selects})

    def _signed(self, run: Run, name: str) -> str:
        """An address that is another one each time, and good until it ends."""
        signature = str(uuid.uuid4())
        self.signatures.add(signature)
        return f"{self.storage}/files/{run['id']}/{quote(name)}?signature={signature}"

    def _file(self, asked: Asked) -> Answer:
        """An attachment, to whoever has an address of it that has not ended: no key is asked for, or taken."""
        if "x-api-key" in {name.lower() for name in asked.headers}:
            raise _RefusedError(400, "the key is nobody's business here")
        if parse_qs(urlsplit(asked.path).query).get("signature", [""])[0] not in self.signatures:
            raise _RefusedError(403, "Request has expired")
        _, _, run, name = _path(asked).split("/")
        if (content := self.files.get((run, unquote(name)))) is None:
            raise _RefusedError(404, "no such file")
        return Answer(200, content, {"Content-Type": "image/png"})

    def _feedback_of(self, run: Run) -> dict[str, Any]:
        return _feedback([each for each in self.feedback if each["run_id"] == run["id"]])


@contextmanager
def langsmith() -> Iterator[LangSmith]:
    """One that is empty, on loopback."""
    made = LangSmith()
    with http_server(made.answer) as server:
        made.server = server
        yield made


def _path(asked: Asked) -> str:
    return urlsplit(asked.path).path


def _parts(content_type: str, body: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Name, type and content of the parts of a form."""
    border = b"\r\n--" + content_type.partition("boundary=")[2].strip('"').encode()
    for part in (b"\r\n" + body).split(border)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        found = {name.lower(): value for name, value in re.findall(r"([\w-]+): ([^\r]*)", head.decode())}
        yield found["content-disposition"].partition('name="')[2][:-1], found["content-type"], content


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _listing(name: str, runs: list[str], rest: str) -> Answer:
    body = f'{{"{name}":[{",".join(runs)}],{rest}}}'
    return Answer(200, body.encode(), {"Content-Type": "application/json"})


def _object(values: dict[str, Any]) -> str:
    """Costs are written digit by digit, as no float would have them."""
    texts = {name: str(value) if isinstance(value, Decimal) else json.dumps(value) for name, value in values.items()}
    return "{" + ", ".join(f'"{name}": {text}' for name, text in texts.items()) + "}"


def _feedback(given: list[dict[str, Any]]) -> dict[str, Any]:
    keys = sorted({each["key"] for each in given})
    scores = {
        key: [each["score"] for each in given if each["key"] == key and each.get("score") is not None] for key in keys
    }
    return {
        key: {"n": sum(each["key"] == key for each in given), "avg": float(sum(found)) / len(found) if found else None}
        for key, found in scores.items()
    }


def _feedback_record(given: dict[str, Any]) -> dict[str, Any]:
    """A record as it is listed: what was not given is null."""
    nothing = dict.fromkeys(("score", "value", "comment", "correction", "feedback_source"))
    own = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{given['run_id']} {given['key']}"))
    times = dict.fromkeys(("created_at", "modified_at"), "2026-03-14T12:00:00.000000")
    return {"id": own, **nothing, **times, **given}


def _status(run: Run) -> str:
    return "error" if run.get("error") else "pending" if run.get("end_time") is None else "success"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _read(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _matches(tree: Filter, run: Run) -> bool:
    if isinstance(tree, And):
        return all(_matches(each, run) for each in tree.operands)
    if isinstance(tree, Or):
        return any(_matches(each, run) for each in tree.operands)
    if isinstance(tree, Has):
        return tree.text in (run.get("tags") or [])
    if not isinstance(tree, Compare):
        raise _RefusedError(400, f"cannot judge {tree}")
    value: Any = run.get(tree.field)
    if tree.field in {"start_time", "end_time"} and value is not None:
        value = _read(value)
    if tree.field == "status":
        value = _status(run)
    if tree.field == "is_root":
        value = "." not in run["dotted_order"]
    if value is None:
        return False
    found: dict[str, Callable[[Any, Any], bool]] = {
        "eq": lambda a, b: a == b,
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
    }
    return found[tree.operator](value, tree.value)
