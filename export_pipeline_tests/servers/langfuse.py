"""A stand-in for Langfuse's API: takes spans as its SDK sends them, answers as the API does, refuses what that refuses.

Strict where the API is: pages over the limit, groups of fields and parameters that it does not know, a wrong key.
Observations are listed newest first, times to the millisecond; values of metadata are cut after 200 characters unless
their keys are asked for; metrics count every version. What it answers next can be changed, so that it plays every fault
of a server and of the way to it.
"""

import base64
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

from export_pipeline_tests.servers.http import Answer, Asked, HttpServer, http_server
from export_pipeline_tests.servers.langfuse_spans import observations_of

PUBLIC, SECRET = "pk-lf-canary-public", "sk-lf-canary-5be1a0"
KEY = f"{PUBLIC}:{SECRET}"
PROJECT = "clkpwwm0m000gmm094odg11gi"

Observation = dict[str, Any]
Fault = Callable[[Asked, Answer], Answer]

_GROUPS: dict[str, tuple[str, ...]] = {
    "core": ("id", "traceId", "startTime", "endTime", "projectId", "parentObservationId", "type"),
    "basic": (
        *("name", "level", "statusMessage", "version", "environment", "bookmarked", "public", "userId", "sessionId"),
        "isRootObservation",
    ),
    "time": ("completionStartTime", "createdAt", "updatedAt"),
    "io": ("input", "output"),
    "metadata": ("metadata",),
    "model": ("model", "internalModelId", "modelParameters"),
    "usage": ("usageDetails", "costDetails", "totalCost", "usagePricingTierName"),
    "prompt": ("promptId", "promptName", "promptVersion"),
    "metrics": ("latency", "timeToFirstToken"),
    "trace_context": ("tags", "release", "traceName"),
}
_LISTED = frozenset(
    {"fields", "limit", "cursor", "fromStartTime", "toStartTime", "traceId", "expandMetadata", "filter", "name", "type"}
)
_SCORED = frozenset({"fields", "limit", "cursor", "traceId", "observationId", "fromTimestamp", "toTimestamp"})
_SCORE_GROUPS = {"details": ("comment", "configId", "metadata"), "subject": ("subject",), "annotation": ("queueId",)}
_MEASURES: dict[str, tuple[str, str]] = {
    "inputTokens": ("usageDetails", "input"),
    "outputTokens": ("usageDetails", "output"),
    "totalTokens": ("usageDetails", "total"),
    "totalCost": ("costDetails", "total"),
}
_TIMES = ("startTime", "endTime", "completionStartTime", "createdAt", "updatedAt")


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = Answer(status, json.dumps({"message": message}).encode())


@dataclass
class Langfuse:
    """What it holds; a test may change all of it at any time.

    `has_v2`: whether it is one of version 4. `versions`: how often metrics count an observation, where not once.
    `faults` change the next answers of paths that end with a text, one each; `always` changes all of them.
    """

    observations: list[Observation] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    has_v2: bool = True
    lock: threading.RLock = field(default_factory=threading.RLock)
    server: HttpServer | None = None

    @property
    def source_url(self) -> str:
        """As the settings name it."""
        assert self.server is not None
        return f"langfuse-cloud+http://127.0.0.1:{self.server.port}"

    def asked(self, path: str) -> list[dict[str, str]]:
        """The parameters of the requests to paths that end so."""
        assert self.server is not None
        return [_given(each) for each in list(self.server.asked) if urlsplit(each.path).path.endswith(path)]

    def add(self, trace: str, own: str, start: datetime, **more: Any) -> str:
        """An observation that has ended, a root unless `more` says otherwise; its id as the product has it."""
        observation: Observation = {
            **dict.fromkeys((name for names in _GROUPS.values() for name in names), None),
            "id": own,
            "traceId": trace,
            "projectId": PROJECT,
            "type": "SPAN",
            "name": "a span",
            "level": "DEFAULT",
            "environment": "default",
            "startTime": start,
            "endTime": start,
            "metadata": {},
            "usageDetails": {},
            "costDetails": {},
            "tags": [],
            **more,
        }
        with self.lock:
            self.observations.append(observation)
        return f"{trace}:{own}"

    def score(self, trace: str, own: str | None, key: str, value: Any, kind: str = "NUMERIC", **more: Any) -> None:
        """A score of an observation, or of a trace where there is no `own`."""
        subject = (
            {"kind": "trace", "id": trace} if own is None else {"kind": "observation", "id": own, "traceId": trace}
        )
        at = "2026-11-20T10:00:00.000Z"
        given = {
            "id": f"score-{len(self.scores):04}",
            "projectId": PROJECT,
            "name": key,
            "value": value,
            "dataType": kind,
            "source": "EVAL",
            "timestamp": at,
            "environment": "default",
            "createdAt": at,
            "updatedAt": at,
            "comment": None,
            "configId": None,
            "metadata": {},
            "subject": subject,
            "queueId": None,
            **more,
        }
        with self.lock:
            self.scores.append(given)

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
        path = urlsplit(asked.path).path
        for end, faults in self.faults.items():
            if path.endswith(end) and faults:
                return faults.pop(0)(asked, found)
        for end, fault in self.always.items():
            if path.endswith(end):
                return fault(asked, found)
        return found

    def _answer(self, asked: Asked) -> Answer:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        if headers.get("authorization") != f"Basic {base64.b64encode(KEY.encode()).decode()}":
            raise _RefusedError(401, f"Invalid credentials: {headers.get('authorization')}")
        path, given = urlsplit(asked.path).path, _given(asked)
        if path == "/api/public/projects":
            return _json({"data": [{"id": PROJECT, "name": "support bot", "metadata": {}}]})
        if path == "/api/public/otel/v1/traces":
            for each in observations_of(asked.body, headers):
                self.add(each.pop("traceId"), each.pop("id"), each.pop("startTime"), **each)
            return Answer(200, b"", {"Content-Type": "application/x-protobuf"})
        if path == "/api/public/v2/observations" and self.has_v2:
            return self._list(given)
        if path == "/api/public/v3/scores" and self.has_v2:
            return self._list_scores(given)
        if path == "/api/public/v2/metrics" and self.has_v2:
            return self._metrics(json.loads(given["query"]))
        raise _RefusedError(404, "Not Found")

    def _list(self, given: dict[str, str]) -> Answer:
        _refuse_unknown(given, _LISTED)
        groups = ["core", *given.get("fields", "core,basic").split(",")]
        _refuse_unknown(groups, frozenset(_GROUPS))
        limit = int(given.get("limit", "50"))
        if not 1 <= limit <= 1000:
            raise _RefusedError(400, "limit must be between 1 and 1000")
        found = sorted(filter(_chosen(given), self.observations), key=_place, reverse=True)
        if "cursor" in given:
            last = tuple(json.loads(base64.b64decode(given["cursor"])))
            found = [each for each in found if _place(each) < last]
        page = found[:limit]
        meta = {}
        if len(found) > limit:
            meta["cursor"] = base64.b64encode(json.dumps(_place(page[-1])).encode()).decode()
        names = dict.fromkeys(name for group in groups for name in _GROUPS[group])
        expanded = set(given.get("expandMetadata", "").split(","))
        return _listing([_shown(each, list(names), expanded) for each in page], meta)

    def _list_scores(self, given: dict[str, str]) -> Answer:
        _refuse_unknown(given, _SCORED)
        groups = [group for group in given.get("fields", "").split(",") if group]
        _refuse_unknown(groups, frozenset(_SCORE_GROUPS))
        limit = int(given.get("limit", "50"))
        if not 1 <= limit <= 100:
            raise _RefusedError(400, "limit must be between 1 and 100")
        if "observationId" in given and "traceId" not in given:
            raise _RefusedError(400, "observationId needs traceId")
        traces = given["traceId"].split(",") if "traceId" in given else None
        found = [each for each in self.scores if traces is None or _trace_of(each) in traces]
        found.sort(key=lambda each: each["id"], reverse=True)
        found = [each for each in found if each["id"] < given.get("cursor", "~")]
        left_out = {name for group, names in _SCORE_GROUPS.items() if group not in groups for name in names}
        page = found[:limit]
        meta: dict[str, Any] = {"limit": limit}
        if len(found) > limit:
            meta["cursor"] = page[-1]["id"]
        return _listing([_object({k: v for k, v in each.items() if k not in left_out}) for each in page], meta)

    def _metrics(self, query: dict[str, Any]) -> Answer:
        if query["view"] != "observations" or not query["metrics"]:
            raise _RefusedError(400, "view and metrics are required")
        if query["timeDimension"]["granularity"] != "day" or query["config"]["row_limit"] > 1000:
            raise _RefusedError(400, "Invalid query")
        first, last = _read(query["fromTimestamp"]), _read(query["toTimestamp"])
        fits = _all_of(query.get("filters", []))
        days: dict[str, list[Observation]] = defaultdict(list)
        for each in self.observations:
            if first <= each["startTime"] <= last and fits(each):
                days[f"{each['startTime']:%Y-%m-%d}"].append(each)
        return _json({"data": [self._figures(query["metrics"], day, days[day]) for day in sorted(days)]})

    def _figures(self, metrics: list[dict[str, str]], day: str, found: list[Observation]) -> dict[str, Any]:
        figures: dict[str, Any] = {"time_dimension": day}
        counts = [self.versions.get(each["id"], 1) for each in found]
        for metric in metrics:
            measure = metric["measure"]
            if measure == "count":
                number: Any = sum(counts)
            elif measure == "countScores":
                number = sum(
                    _subject(score) in {(each["traceId"], each["id"]) for each in found} for score in self.scores
                )
            elif measure in _MEASURES:
                group, key = _MEASURES[measure]
                number = sum(count * (each[group] or {}).get(key, 0) for each, count in zip(found, counts, strict=True))
            else:
                raise _RefusedError(400, f"unknown measure {measure}")
            figures[f"{metric['aggregation']}_{measure}"] = str(number)
        return figures


@contextmanager
def langfuse() -> Iterator[Langfuse]:
    """One that is empty, on loopback."""
    made = Langfuse()
    with http_server(made.answer) as server:
        made.server = server
        yield made


def _given(asked: Asked) -> dict[str, str]:
    found = parse_qs(
        urlsplit(asked.path).query, keep_blank_values=True, strict_parsing=bool(urlsplit(asked.path).query)
    )
    return {name: values[0] for name, values in found.items()}


def _refuse_unknown(names: Any, known: frozenset[str]) -> None:
    if unknown := sorted(set(names) - known):
        raise _RefusedError(400, f"Invalid request data: {unknown}")


def _chosen(given: dict[str, str]) -> Callable[[Observation], bool]:
    if "filter" in given:
        return _all_of(json.loads(given["filter"]))
    first, last = given.get("fromStartTime"), given.get("toStartTime")
    trace = given.get("traceId")

    def fits(each: Observation) -> bool:
        return (
            (first is None or each["startTime"] >= _read(first))
            and (last is None or each["startTime"] < _read(last))
            and (trace is None or each["traceId"] == trace)
        )

    return fits


def _all_of(conditions: list[dict[str, Any]]) -> Callable[[Observation], bool]:
    tests: dict[tuple[str, str], Callable[[Any, Any], bool]] = {
        ("datetime", ">="): lambda value, wanted: value >= _read(wanted),
        ("datetime", "<"): lambda value, wanted: value < _read(wanted),
        ("string", "="): lambda value, wanted: value == wanted,
        ("stringOptions", "any of"): lambda value, wanted: value in wanted,
        ("stringOptions", "none of"): lambda value, wanted: value not in wanted,
        ("arrayOptions", "any of"): lambda value, wanted: bool(set(value) & set(wanted)),
    }
    for each in conditions:
        if (each["type"], each["operator"]) not in tests:
            raise _RefusedError(400, f"Invalid filter: {each}")
    return lambda observation: all(
        tests[each["type"], each["operator"]](observation[each["column"]], each["value"]) for each in conditions
    )


def _place(observation: Observation) -> tuple[str, str, str]:
    return _iso(observation["startTime"]), str(observation["traceId"]), observation["id"]


def _shown(observation: Observation, names: list[str], expanded: set[str]) -> str:
    shown = {name: observation[name] for name in names}
    for name in _TIMES:
        if isinstance(shown.get(name), datetime):
            shown[name] = _iso(shown[name])
    if "metadata" in shown and shown["metadata"] is not None:
        shown["metadata"] = {
            key: value[:200] if isinstance(value, str) and key not in expanded else value
            for key, value in shown["metadata"].items()
        }
    return _object(shown)


def _subject(score: dict[str, Any]) -> tuple[Any, Any]:
    return score["subject"].get("traceId"), score["subject"]["id"]


def _trace_of(score: dict[str, Any]) -> Any:
    subject = score["subject"]
    return subject["id"] if subject["kind"] == "trace" else subject.get("traceId")


def _json(value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _listing(items: list[str], meta: dict[str, Any]) -> Answer:
    body = f'{{"data":[{",".join(items)}],"meta":{json.dumps(meta)}}}'
    return Answer(200, body.encode(), {"Content-Type": "application/json"})


def _object(value: Any) -> str:
    """JSON in which decimal numbers are written digit by digit, as no float would have them."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_object(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_object, value)) + "]"
    return json.dumps(value)


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _read(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
