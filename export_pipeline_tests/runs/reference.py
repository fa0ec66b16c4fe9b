"""The transform once more: one row at a time, slow and obvious, written from the rules in docs/columns.md.

It shares nothing with the product but the names of the columns. Cells are bytes, integers, booleans or None, as they
lie in a raw batch.
"""

import binascii
import json
import re
import string
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from export_pipeline.runs.schema import RUN_FIELDS

NAMESPACE = uuid.UUID("6ab1a3a4-3d55-5b0e-9d53-2f6c1be0f7d1")
KINDS = {each.name: each.kind.value for each in RUN_FIELDS}
JSON_BLANKS = " \t\r\n"
BLANKS = JSON_BLANKS + "\f\v"
LOWEST, HIGHEST = -62135596800000000, 253402300799999999
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass
class Outcome:
    """What becomes of one row: the row, or why it is rejected; and what was replaced."""

    row: dict[str, Any] | None = None
    reason: str | None = None
    replaced: Counter[str] = field(default_factory=Counter)


def number(text: str) -> Fraction | None:
    if not text or set(text) - set("0123456789+-.eE"):
        return None
    exponent = text.lower().partition("e")[2].lstrip("+-")
    if len(exponent) > 5:
        return None
    try:
        return Fraction(Decimal(text))  # not of the text itself: Python reads no integers of more than 4,300 digits
    except InvalidOperation:
        return None


def time(text: str, unit: str) -> int | None:
    text = text.strip(BLANKS)
    if (epoch := number(text)) is not None:
        found = epoch * 10**6 / PER_SECOND[unit]
        micros = found.numerator // found.denominator
    else:
        try:
            micros = iso(text)
        except ValueError:
            return None
    return micros if LOWEST <= micros <= HIGHEST else None


def digits(text: str, count: int) -> int:
    if len(text) != count or set(text) - set(string.digits):
        raise ValueError(text)
    return int(text)


def iso(text: str) -> int:
    day, rest = text[:10], text[10:]
    if day[4:5] + day[7:8] != "--":
        raise ValueError(text)
    year, month, of_month = digits(day[:4], 4), digits(day[5:7], 2), digits(day[8:], 2)
    hour = minute = second = fraction = offset = 0
    if rest:
        if rest[0] not in "Tt ":
            raise ValueError(text)
        clock, offset = zone(rest[1:])
        clock, _, decimals = clock.replace(",", ".", 1).partition(".") if len(clock) > 8 else (clock, "", "")
        parts = clock.split(":")
        if not 2 <= len(parts) <= 3 or set(decimals) - set(string.digits):
            raise ValueError(text)
        hour, minute, second = [digits(part, 2) for part in [*parts, "00"][:3]]
        fraction = int((decimals + "000000")[:6])
    whole = datetime(year, month, of_month, hour, minute, second, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (whole.days * 86400 + whole.seconds - offset) * 10**6 + fraction


GO = re.compile(
    r"(.*[+-][0-9:]+) (?:[A-Z]{3,5}|[+-][0-9]{2}|[+-][0-9]{4})(?: m=[+-][0-9]{1,12}\.[0-9]{1,12})?", re.DOTALL
)


def without_name(text: str) -> str:
    """A clock and offset without the name of the zone that Go writes after it."""
    found = GO.fullmatch(text)
    return found[1] if found else text


def zone(text: str) -> tuple[str, int]:
    text = without_name(text)
    for utc in ("Z", "UTC"):
        if text.upper().endswith(utc):
            return text[: -len(utc)].removesuffix(" "), 0
    for sign in "+-":
        clock, found, offset = text.partition(sign)
        if found:
            if len(offset) == 4:
                offset = offset[:2] + ":" + offset[2:]
            parts = offset.split(":")
            if len(parts) > 3:
                raise ValueError(text)
            hours, minutes, seconds = [digits(part, 2) for part in [*parts, "00", "00"][:3]]
            if hours > 23 or minutes > 59 or seconds > 59:
                raise ValueError(text)
            return clock.removesuffix(" "), (hours * 3600 + minutes * 60 + seconds) * (1 if sign == "+" else -1)
    return text, 0


def uuid_text(text: str) -> tuple[str, bool]:
    """The id in the file, and whether the text was a UUID."""
    plain = text.strip(BLANKS).lower()
    plain = plain.removeprefix("urn:uuid:")
    if plain[:1] == "{" and plain[-1:] == "}":
        plain = plain[1:-1]
    groups = plain.split("-")
    if set(plain) <= set("0123456789abcdef-") and all(groups) and not any(len(group) % 4 for group in groups):
        joined = "".join(groups)
        if len(joined) == 32:
            return str(uuid.UUID(joined)), True
    return str(uuid.uuid5(NAMESPACE, text)), False


def dotted(text: str | None) -> list[tuple[str, str]]:
    segments: list[tuple[str, str]] = []
    for piece in (text or "").split("."):
        stamp, own = piece[:22], piece[22:]
        shape = "".join("9" if each in string.digits else each for each in stamp)
        if shape == "99999999T999999999999Z":
            segments.append((stamp, own))
        elif segments:  # a dot of the id before
            segments[-1] = segments[-1][0], f"{segments[-1][1]}.{piece}"
        else:
            return []
    return segments if all(own for _, own in segments) else []


def elements(text: str) -> list[tuple[str, bool]] | None:
    """The elements of a JSON list as they are written and whether each is a string; None where it is no list."""
    try:
        if not isinstance(json.loads(text, parse_int=str, parse_float=str, parse_constant=str), list):
            return None
    except (ValueError, RecursionError):
        return None
    inner = text.strip(JSON_BLANKS)[1:-1]
    found, depth, quoted, escaped, piece = [], 0, False, False, ""
    for each in inner:
        if quoted:
            escaped, quoted = each == "\\" and not escaped, each != '"' or escaped
        else:
            quoted = each == '"'
            depth += (each in "[{") - (each in "]}")
        if each == "," and not quoted and not depth:
            found.append(piece)
            piece = ""
        else:
            piece += each
    found.append(piece)
    pieces = [each.strip(JSON_BLANKS) for each in found]
    return [(each, each.startswith('"')) for each in pieces] if pieces != [""] else []


def whole(number: str) -> str:
    """The id that a JSON number is."""
    before, point, after = number.partition(".")
    return before if point and after and set(after) == {"0"} else number


def strings(text: str) -> tuple[list[str], set[str]]:
    found, notes = [], set()
    if (parts := elements(text)) is None:
        return [text], {"not a list"}
    for source, is_string in parts:
        if not is_string:
            notes.add("not a string")
            found.append(source)
            continue
        value = json.loads(source)
        clean = "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in value)
        notes |= {"lone surrogate"} if clean != value else set()
        found.append(clean)
    return found, notes


class Transform:
    """The reference for one export; see `RunTransform` for the arguments."""

    def __init__(self, *, tenant_id: Any, session_id: Any, fields: Any, format_version: str, epoch_unit: str) -> None:
        self.constants = {"tenant_id": str(tenant_id), "session_id": str(session_id)}
        self.fields = [each.name for each in fields]
        self.format_version = format_version
        self.epoch_unit = epoch_unit

    def __call__(self, raw: dict[str, Any]) -> Outcome:
        """The outcome of one raw row."""
        self.out = Outcome()
        self.reasons: dict[str, str] = {}
        self.originals: dict[str, str] = {}
        self.raw = {name: self.text(name, raw[name]) for name in KINDS}
        row: dict[str, Any] = {name: self.cell(name) for name in KINDS if KINDS[name] != "id" or name == "id"}
        row |= {name: self.cell(name) for name in ("reference_example_id", *self.constants)}
        self.derive(row)
        exported = {name: text for name, text in self.originals.items() if name in self.fields}
        if exported and "extra" in self.fields:
            row["extra"] = self.extra(row["extra"], {name: exported[name] for name in KINDS if name in exported})
        for name in KINDS:
            if name in self.reasons and name in {*self.fields, "id", "start_time"}:
                self.out.reason = self.out.reason or f"{name}: {self.reasons[name]}"
        if self.out.reason:
            return Outcome(reason=self.out.reason)
        if self.format_version == "v1":
            for name in ("tags", "parent_run_ids"):
                row[name] = json.dumps(row[name], ensure_ascii=False, separators=(",", ":"))
        self.out.row = {name: row[name] for name in self.fields}
        return self.out

    def note(self, name: str, why: str) -> None:
        if name in self.fields:
            self.out.replaced[f"{name}: {why}"] += 1

    def text(self, name: str, cell: Any) -> Any:
        if not isinstance(cell, bytes):
            return cell
        if KINDS[name] == "json" and cell[:7] == b"\xffbytes:":
            self.note(name, "bytes")
            return '{"export_pipeline": {"base64": "' + binascii.b2a_base64(cell[7:], newline=False).decode() + '"}}'
        try:
            text = cell.decode()
        except UnicodeDecodeError:
            self.note(name, "invalid UTF-8")
            text = cell.decode(errors="backslashreplace" if KINDS[name] == "id" else "replace")
        if KINDS[name] in {"strings", "time", "count", "cost", "flag"} and text.strip(BLANKS) == "null":
            return None
        free = KINDS[name] == "json" or name in {"name", "error"}
        return None if not free and not text.strip(BLANKS) else text

    def cell(self, name: str) -> Any:
        raw = self.raw[name]
        if name in {"run_type", "status", "trace_tier"}:
            return self.choice(name, raw)
        if KINDS[name] == "id":
            return self.id(name, raw)
        if raw is None:
            if name == "name":
                self.note(name, "missing")
            if name == "start_time":
                self.reasons[name] = "missing"
            return {"name": "", "tags": []}.get(name)
        return getattr(self, f"cell_{KINDS[name]}")(name, raw)

    def cell_text(self, _name: str, raw: str) -> str:
        return raw

    cell_json = cell_text

    def id(self, name: str, raw: str | None) -> str | None:
        if raw is None:
            if name == "id":
                self.reasons[name] = "missing"
            return self.constants.get(name)
        found, is_uuid = uuid_text(raw)
        if not is_uuid:
            self.originals[name] = raw
        return found

    def cell_time(self, name: str, raw: str | int) -> int | None:
        found = time(raw, self.epoch_unit) if isinstance(raw, str) else raw if LOWEST <= raw <= HIGHEST else None
        if found is None and name == "start_time":
            self.reasons[name] = "not a time"
        elif found is None:
            self.note(name, "not a time")
        return found

    def cell_strings(self, name: str, raw: str) -> list[str]:
        found, notes = strings(raw)
        if name == "parent_run_ids":
            if (parts := elements(raw)) is not None:
                numbers = [place for place, (_, is_string) in enumerate(parts) if not is_string]
                found = [whole(each) if place in numbers else each for place, each in enumerate(found)]
            kept = [each for each in found if each.strip(BLANKS) and each != "null"]
            notes |= {"not a string"} if kept != found else set()
            found = [uuid_text(each)[0] for each in kept]
        for why in notes:
            self.note(name, why)
        return found

    def cell_count(self, name: str, raw: str | int) -> int | None:
        if isinstance(raw, int):
            return raw
        found = number(raw.strip(BLANKS))
        if found is None or found.denominator != 1 or not -(2**63) <= found < 2**63:
            self.note(name, "not a whole number within INT64")
            return None
        return int(found)

    def cell_cost(self, name: str, raw: str) -> Decimal | None:
        found = number(raw.strip(BLANKS))
        if found is None:
            self.reasons[name] = "not a number"
            return None
        steps = round(found * 10**12)  # Python rounds a Fraction half-even
        if abs(steps) >= 10**18:
            self.reasons[name] = "does not fit DECIMAL(18, 12)"
            return None
        return Decimal(steps).scaleb(-12)

    def cell_flag(self, name: str, raw: str | bool) -> bool | None:
        if isinstance(raw, bool):
            return raw
        word = raw.strip(BLANKS).lower()
        if word in {"1", "1.0", "t", "true", "0", "0.0", "f", "false"}:
            return word in {"1", "1.0", "t", "true"}
        self.note(name, "not a flag")
        return None

    def choice(self, name: str, raw: str | None) -> str | None:
        known = {
            "run_type": {"tool", "chain", "llm", "retriever", "embedding", "prompt", "parser"},
            "status": {"success", "error", "pending"},
            "trace_tier": {"shortlived", "longlived"},
        }[name]
        if raw is None:
            if name == "run_type":
                self.note(name, "missing")
            return "chain" if name == "run_type" else None
        word = raw.strip(BLANKS).lower()
        if word not in known:
            self.note(name, "unknown value")
        return word

    def derive(self, row: dict[str, Any]) -> None:
        said = {"trace": self.id("trace_id", self.raw["trace_id"]), "listed": row["parent_run_ids"]}
        parent = self.id("parent_run_id", self.raw["parent_run_id"])
        path = [uuid_text(own)[0] for _, own in dotted(row["dotted_order"])]
        right = bool(path) and path[-1] == row["id"] and (parent is None or path[:-1][-1:] == [parent])
        trace, ancestors = said["trace"], said["listed"]
        if right:
            ancestors, trace = path[:-1], path[0]
            parent = ancestors[-1] if ancestors else None
        else:
            if ancestors and parent is None:
                parent = ancestors[-1]
            if ancestors is None or ancestors[-1:] != ([] if parent is None else [parent]):
                ancestors = [parent] if parent and parent == trace else []
            if ancestors:
                trace = ancestors[0]
        if said["listed"] is not None and said["listed"] != ancestors:
            self.note("parent_run_ids", "does not lead to this run")
        elif parent is not None and not ancestors:
            self.note("parent_run_ids", "not known")
        if trace is None:
            trace = row["id"] if parent is None else parent
            if parent is not None:
                self.note("trace_id", "guessed")
        if said["trace"] is not None and said["trace"] != trace:
            self.note("trace_id", "not the root run")
            self.originals["trace_id"] = self.raw["trace_id"]
        row["dotted_order"] = self.path(row["dotted_order"], path if right else [])
        if row["is_root"] is None:
            row["is_root"] = parent is None
        if row["status"] is None:
            row["status"] = "error" if row["error"] else "pending" if row["end_time"] is None else "success"
        row |= {"trace_id": trace, "parent_run_id": parent, "parent_run_ids": ancestors}

    def path(self, text: str | None, ids: list[str]) -> str | None:
        """The dotted_order of the file."""
        if text is None:
            return None
        if not ids:
            self.note("dotted_order", "does not lead to this run")
            self.originals["dotted_order"] = text
        return ".".join(stamp + own for (stamp, _), own in zip(dotted(text), ids, strict=True)) if ids else None

    def extra(self, text: str | None, ids: dict[str, str]) -> str:
        stripped = (text or "").strip(JSON_BLANKS)
        ours = '"original_ids": ' + json.dumps(ids, ensure_ascii=False)
        if stripped in {"", "null"}:
            return '{"export_pipeline": {' + ours + "}}"
        if len(stripped) < 2 or stripped[0] + stripped[-1] != "{}":
            return '{"export_pipeline": {' + ours + ', "extra_text": ' + json.dumps(text, ensure_ascii=False) + "}}"
        rest = stripped[1:].lstrip(JSON_BLANKS)
        return '{"export_pipeline": {' + ours + "}" + (", " if rest != "}" else "") + rest
