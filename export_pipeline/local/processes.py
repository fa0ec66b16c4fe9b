"""Child processes that end when they are told to, and when we end."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

_PATIENCE = 10.0
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


def ended_with_us(sign: str) -> list[str]:
    """What to put before a command so that it gets the signal when the thread that started it ends; Linux only."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", sign, "--"] if setpriv else []


@contextmanager
def interruptible() -> Iterator[None]:
    """Makes SIGINT and SIGTERM raise `KeyboardInterrupt` in the main thread, also where they were ignored before.

    A script's `&` ignores SIGINT in what it starts, and that would be handed on: Dagster's processes, and the workers
    that they start, could then not be ended. A signal that has a handler is back at its default in a child.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {sign: signal.signal(sign, interrupt) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


class Child:
    """A process with a log file, whose lines go to `on_line` too; a context manager that ends it by SIGINT.

    It has a session of its own, so that Ctrl-C in the terminal reaches us alone. What has not ended after ten seconds
    is killed, with the processes that it started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self._command = [*ended_with_us("INT"), *command]
        self._environment = environment
        self._on_line = on_line
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._process: subprocess.Popen[str]
        self._is_interrupted = False
        self.log = log

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            env={**self._environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader.start()
        return self

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """Waits until it ends, at most so long; the exit status, or None."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def interrupt(self) -> None:
        """Asks it and what it started to end, as Ctrl-C in a terminal does; once: many break off at a second one."""
        if self.status is None and not self._is_interrupted:
            self._is_interrupted = True
            os.killpg(self._process.pid, signal.SIGINT)

    def last_words(self, lines: int = 12) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.interrupt()
        if self.wait(_PATIENCE) is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(_PATIENCE)
        if self._reader.is_alive():  # what it started still holds its output
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._reader.join(_PATIENCE)
        if self._process.stdout and not self._reader.is_alive():
            self._process.stdout.close()

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        with self.log.open("a") as log:
            for colored in stream:
                line = _COLORS.sub("", colored)
                log.write(line)
                log.flush()
                if self._on_line:
                    self._on_line(line.rstrip("\n"))
