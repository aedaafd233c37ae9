"""A TCP proxy on loopback that passes on, refuses, answers 500, or takes the connection and says nothing."""

import asyncio
from threading import Event, Thread
from types import TracebackType
from typing import Literal, Self

from tests.postgres import free_port

Mode = Literal["pass", "refuse", "error", "hang"]
ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops"


class FaultProxy:
    """`with FaultProxy(port) as proxy:` then `proxy.mode = ...`; connections that stand when the mode changes are cut."""

    def __init__(self, target: int) -> None:
        self._target, self.port = target, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.requests = 0
        self._mode: Mode = "pass"
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = Event()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests += 1
        self._open.add(writer)
        try:
            if self._mode == "pass":
                await self._pass_on(reader, writer)
            elif self._mode == "error":
                await reader.read(65536)
                writer.write(ERROR)
                await writer.drain()
            elif self._mode == "hang":
                while await reader.read(65536):
                    pass
        except OSError:
            pass  # whoever hung up first
        finally:
            self._open.discard(writer)
            writer.transport.abort() if self._mode == "refuse" else writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open.add(far_writer)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)
        finally:
            self._open.discard(far_writer)
            far_writer.close()
