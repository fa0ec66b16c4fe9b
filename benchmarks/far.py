"""A proxy that puts a server some milliseconds away: every packet is passed on later, in order, both ways.

Run as a process of its own, it prints its port: `python far.py UPSTREAM_PORT MILLISECONDS`, there and back.
"""

import asyncio
import sys

CHUNK = 256 * 1024


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)

    async def deliver() -> None:
        while True:
            when, data = await due.get()
            await asyncio.sleep(max(0.0, when - loop.time()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    try:
        while data := await reader.read(CHUNK):
            await due.put((loop.time() + delay, data))
    finally:
        await due.put((loop.time() + delay, b""))
        await asyncio.gather(delivering, return_exceptions=True)


async def main() -> None:
    """Serves until it is ended."""
    upstream, delay = int(sys.argv[1]), float(sys.argv[2]) / 2000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", upstream)
        await asyncio.gather(
            _pass_on(reader, up_writer, delay), _pass_on(up_reader, writer, delay), return_exceptions=True
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
