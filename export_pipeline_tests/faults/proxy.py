"""A proxy in front of an S3 server that plays faults by rule.

Requests are passed on unchanged but for two headers that are not signed: `Expect` is answered here, and `Connection`
becomes `close`, so that each connection carries one request. The Host header keeps the proxy's port, over which the
client has signed; both test servers accept that.
"""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from export_pipeline_tests.faults.loop import CHUNK, LoopServer, reset


@dataclass(frozen=True)
class Fault:
    """What is done to a request; `FaultProxy` has a method for each sensible combination.

    `status` and `code`: answer so, and do not ask the server. `lose_response`: let the server act, then reset. `delay`:
    seconds before the request is passed on. `stall`: swallow the request and never answer. `cut_request` and
    `cut_response`: reset after so many bytes of the body. `corrupt_request`, `corrupt_response`: flip a bit of the
    body's first byte. `rate`: bytes a second, both ways.
    """

    status: int | None = None
    code: str = "InternalError"
    lose_response: bool = False
    delay: float = 0.0
    stall: bool = False
    cut_request: int | None = None
    cut_response: int | None = None
    corrupt_request: bool = False
    corrupt_response: bool = False
    rate: int | None = None


@dataclass
class Request:
    """A request that came by; `operation` is S3's name for it, `status` what the client was told (None: nothing)."""

    operation: str
    bucket: str
    key: str
    status: int | None = None


@dataclass
class Rule:
    """A fault for some requests: the first `skip` that match pass, the next `times` (None: all) are hit."""

    fault: Fault
    operation: str
    key: str
    times: int | None
    skip: int
    matched: int = 0
    hits: int = 0
    _hit: threading.Event = field(default_factory=threading.Event)

    def takes(self, request: Request) -> bool:
        """Whether this request is hit; counts it."""
        if not re.fullmatch(self.operation, request.operation) or not re.search(self.key, request.key):
            return False
        self.matched += 1
        if self.matched <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        self._hit.set()
        return True

    def wait(self, seconds: float = 60.0) -> None:
        """Waits until a request has been hit."""
        assert self._hit.wait(seconds), f"no request {self.operation} {self.key} came by"


class FaultProxy(LoopServer):
    """A context manager; `endpoint_url` stands for the server's own. Rules may change at any time, from any thread."""

    def __init__(self, upstream_url: str) -> None:
        super().__init__()
        parts = urlsplit(upstream_url)
        assert parts.hostname is not None
        self._upstream = (parts.hostname, parts.port or 80)
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self.requests: list[Request] = []

    @property
    def endpoint_url(self) -> str:
        """The proxy's address, to be given to the client."""
        return f"http://127.0.0.1:{self.port}"

    def on(
        self, operation: str = ".*", fault: Fault = Fault(), *, key: str = "", times: int | None = 1, skip: int = 0
    ) -> Rule:
        """Adds a rule for an operation (a pattern of S3's names, `UploadPart|PutObject`) and keys (a pattern).

        Of several rules that fit the oldest one acts.
        """
        rule = Rule(fault, operation, key, times, skip)
        with self._lock:
            self._rules.append(rule)
        return rule

    def answer(self, status: int, code: str, operation: str = ".*", *, times: int | None = 1, skip: int = 0) -> Rule:
        """Answers requests with an S3 error; the server does not see them."""
        return self.on(operation, Fault(status=status, code=code), times=times, skip=skip)

    def lose_response(self, operation: str, *, times: int | None = 1, skip: int = 0) -> Rule:
        """Lets the server act and resets the connection in place of its answer."""
        return self.on(operation, Fault(lose_response=True), times=times, skip=skip)

    def clear(self) -> None:
        """Removes all rules."""
        with self._lock:
            self._rules.clear()

    def count(self, operation: str) -> int:
        """How many requests of an operation came by so far."""
        return sum(request.operation == operation for request in self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        head = await _read_head(reader)
        if head is None:
            return
        request = _describe(head)
        with self._lock:
            self.requests.append(request)
            fault = next((rule.fault for rule in self._rules if rule.takes(request)), Fault())
        if b"\r\nexpect: 100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _body(reader, head)
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.stall:
            await reader.read(-1)  # comes back when the client gives up
        elif fault.status is not None:
            async for _ in body:
                pass
            request.status = fault.status
            writer.write(_error(fault.status, fault.code, head.startswith(b"HEAD")))
            await writer.drain()
        else:
            await self._pass_on(request, fault, head, body, writer)

    async def _pass_on(
        self, request: Request, fault: Fault, head: bytes, body: AsyncIterator[bytes], writer: asyncio.StreamWriter
    ) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            reset(writer)
            return
        try:
            up_writer.write(_without(head, (b"expect", b"connection")) + b"connection: close\r\n\r\n")
            if not await _copy(body, up_writer, fault.cut_request, fault.corrupt_request, fault.rate):
                reset(up_writer)
                reset(writer)
                return
            answer = await _read_answer_head(up_reader)
            if fault.lose_response or not answer:
                await up_reader.read(-1)
                reset(writer)
                return
            request.status = int(answer.split(b" ", 2)[1])
            writer.write(answer)
            rest = _until_end(up_reader)
            if not await _copy(rest, writer, fault.cut_response, fault.corrupt_response, fault.rate):
                reset(writer)
        finally:
            up_writer.close()


async def _read_head(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None


async def _read_answer_head(reader: asyncio.StreamReader) -> bytes | None:
    while (head := await _read_head(reader)) is not None:
        if not head.startswith((b"HTTP/1.1 100", b"HTTP/1.0 100")):
            return head
    return None


def _header(head: bytes, name: bytes) -> bytes | None:
    found = re.search(rb"\r\n" + name + rb":[ \t]*([^\r]*)", head, re.IGNORECASE)
    return found[1].strip() if found else None


def _without(head: bytes, names: tuple[bytes, ...]) -> bytes:
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return b"".join(line + b"\r\n" for line in lines if line.partition(b":")[0].lower() not in names)


async def _body(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
    """The request's body as it travels, chunk framing included."""
    if (_header(head, b"transfer-encoding") or b"").lower() == b"chunked":
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line + await reader.readexactly(size + 2)
            if size == 0:
                return
    left = int(_header(head, b"content-length") or 0)
    while left:
        data = await reader.read(min(CHUNK, left))
        if not data:
            raise ConnectionResetError("the client broke off")
        left -= len(data)
        yield data


async def _until_end(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await reader.read(CHUNK):
        yield data


async def _copy(
    source: AsyncIterator[bytes], sink: asyncio.StreamWriter, limit: int | None, corrupt: bool, rate: int | None
) -> bool:
    """Copies all of `source`, or `limit` bytes; whether it got to the end."""
    done = 0
    async for original in source:
        data = bytes([original[0] ^ 1]) + original[1:] if corrupt and done == 0 else original
        if limit is not None and done + len(data) > limit:
            sink.write(data[: limit - done])
            await sink.drain()
            return False
        done += len(data)
        sink.write(data)
        await sink.drain()
        if rate:
            await asyncio.sleep(len(data) / rate)
    return True


def _error(status: int, code: str, is_head: bool) -> bytes:
    xml = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>played</Message></Error>'.encode()
    head = f"HTTP/1.1 {status} Played\r\ncontent-type: application/xml\r\ncontent-length: {len(xml)}\r\n"
    return (head + "connection: close\r\n\r\n").encode() + (b"" if is_head else xml)


def _describe(head: bytes) -> Request:
    method, target = head.split(b" ", 2)[:2]
    parts = urlsplit(target.decode())
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    query = parse_qs(parts.query, keep_blank_values=True)
    return Request(_operation(method.decode(), bucket, key, query.keys(), head), bucket, key)


def _operation(method: str, bucket: str, key: str, names: Collection[str], head: bytes) -> str:
    if "uploadId" in names:
        upload = {"POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload", "GET": "ListParts"}
        return upload.get(method, "UploadPart")
    if "uploads" in names:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if key:
        copies = method == "PUT" and _header(head, b"x-amz-copy-source") is not None
        return "CopyObject" if copies else {"POST": "PostObject"}.get(method, f"{method.capitalize()}Object")
    if method == "GET":
        return "ListObjectsV2" if "list-type" in names else ("GetBucket" if bucket else "ListBuckets")
    return {"PUT": "CreateBucket", "DELETE": "DeleteBucket", "POST": "DeleteObjects"}.get(method, "HeadBucket")
