"""A proxy for any protocol over TCP, for the control database and the trace store: it breaks connections."""

import asyncio
import threading

from export_pipeline_tests.faults.loop import CHUNK, LoopServer, reset


class TcpProxy(LoopServer):
    """Passes bytes on, both ways; a context manager.

    `break_all` resets what is open; while `refusing` is True new connections are reset too. `lose_answer_to(word)`: the
    next packet from a client that holds the word reaches the server, the server's answer is awaited, and the client
    gets a reset in its place.
    """

    def __init__(self, upstream_port: int) -> None:
        super().__init__()
        self._upstream_port = upstream_port
        self._word: bytes | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._lost = threading.Event()
        self.refusing = False

    def lose_answer_to(self, word: bytes) -> threading.Event:
        """Arms the fault once; the event is set when an answer has been lost."""
        self._lost.clear()
        self._word = word
        return self._lost

    def break_all(self) -> None:
        """Resets all open connections."""
        self._loop.call_soon_threadsafe(self._break_all)

    def _break_all(self) -> None:
        for writer in list(self._open):
            reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.refusing:
            reset(writer)
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        self._open.add(writer)
        losing = asyncio.Event()
        back = asyncio.create_task(self._answers(up_reader, writer, losing))
        try:
            while data := await reader.read(CHUNK):
                if self._word is not None and self._word in data:
                    self._word = None
                    losing.set()
                up_writer.write(data)
                await up_writer.drain()
        finally:
            self._open.discard(writer)
            up_writer.close()
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)

    async def _answers(
        self, up_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        while data := await up_reader.read(CHUNK):
            if losing.is_set():
                self._lost.set()
                reset(writer)
                return
            writer.write(data)
            await writer.drain()
        writer.close()
