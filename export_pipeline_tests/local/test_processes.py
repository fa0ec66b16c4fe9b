"""Child processes end when told, with what they started, and their output is kept."""

import os
import signal
import sys
from pathlib import Path

import pytest

from export_pipeline.local.processes import Child, interruptible
from export_pipeline_tests.servers import wait_for


def _python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_lines_are_kept_and_passed_on_and_the_status_is_known(tmp_path: Path) -> None:
    lines: list[str] = []
    log = tmp_path / "log"
    with Child(
        _python("print('one'); print('\\x1b[32mzwei\\x1b[0m ü'); raise SystemExit(3)"),
        environment=os.environ,
        log=log,
        on_line=lines.append,
    ) as child:
        assert child.wait(30) == 3
    assert lines == ["one", "zwei ü"]
    assert log.read_text() == "one\nzwei ü\n"
    assert child.last_words(1) == "zwei ü"


def test_it_is_interrupted_together_with_what_it_started(tmp_path: Path) -> None:
    inner = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    code = (
        "import subprocess, sys\n"
        f"try: subprocess.run([sys.executable, '-c', {inner!r}])\nexcept KeyboardInterrupt: print('interrupted')"
    )
    lines: list[str] = []
    with Child(_python(code), environment=os.environ, log=tmp_path / "log", on_line=lines.append) as child:
        wait_for(lambda: bool(lines), what="the first line")
    assert "interrupted" in lines
    assert child.status == 0
    wait_for(lambda: _gone(int(lines[0])), what="the end of the grandchild")


def test_it_is_interrupted_once(tmp_path: Path) -> None:
    lines: list[str] = []
    code = """
import signal, time
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print("ready")
while not got:
    time.sleep(0.01)
print("told")
time.sleep(0.5)
print(len(got))
"""
    with Child(_python(code), environment=os.environ, log=tmp_path / "log", on_line=lines.append) as child:
        wait_for(lambda: lines == ["ready"], what="the child's first line")
        child.interrupt()
        wait_for(lambda: lines == ["ready", "told"], what="the child's second line")
    assert lines == ["ready", "told", "1"]


def test_what_ignores_the_interrupt_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export_pipeline.local.processes._PATIENCE", 0.3)
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up'); time.sleep(600)"
    lines: list[str] = []
    with Child(_python(code), environment=os.environ, log=tmp_path / "log", on_line=lines.append) as child:
        wait_for(lambda: bool(lines), what="the first line")
    assert child.status == -signal.SIGKILL


def test_signals_interrupt_even_where_they_were_ignored_and_children_have_them_at_default(tmp_path: Path) -> None:
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            with Child(_python(code), environment=os.environ, log=tmp_path / "log") as child:
                assert child.wait(30) == 0
            assert child.last_words() == "True"
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
