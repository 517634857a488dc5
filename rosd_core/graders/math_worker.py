"""Symbolic equality of two answers by math-verify, in a separate process with a time limit.

Signals work in a main thread only and cannot stop C code; a process can be killed. Only LaTeX is
parsed (by a grammar): math-verify's other parser would evaluate the text.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from rosd_core.errors import RosdError

OVERTIME = 2.0  # seconds after which the process ends itself, beyond the time limit


def equal(gold: str, parsed: str) -> bool:
    """Whether math-verify takes `parsed` for `gold`. What it cannot read is not equal."""
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig()]
    right, given = (parse(f"${t}$", config, parsing_timeout=0) for t in (gold, parsed))
    return bool(right and given) and bool(verify(right, given, timeout_seconds=None))


class _Worker:
    """A Python process that answers one JSON line per JSON line; started when it is needed."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.lock = threading.Lock()  # one question at a time

    def _start(self) -> subprocess.Popen[str]:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rosd_core.graders.math_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        if self._read(60.0) != "ready":
            self.stop()
            raise RosdError("the process that compares answers did not start: no math-verify?")
        return self.process

    def _read(self, seconds: float) -> str | None:
        assert self.process is not None and self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline().strip() if ready else None

    def ask(self, gold: str, parsed: str, seconds: float) -> bool | None:
        with self.lock:
            if self.process is not None and self.process.poll() is not None:
                self.stop()  # it was killed while it waited
            process = self.process or self._start()
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps([gold, parsed, seconds]) + "\n")
                process.stdin.flush()
                answer = self._read(seconds)
            except BrokenPipeError:
                answer = None
            if not answer:
                self.stop()
            return json.loads(answer) if answer else None

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            with suppress(BrokenPipeError):  # of what was written to it last
                self.process.communicate()
            self.process = None


_WORKER = _Worker()
atexit.register(_WORKER.stop)


def equal_within(gold: str, parsed: str, seconds: float) -> bool | None:
    """`equal`, or None where it takes over `seconds` or its process dies. From any thread."""
    return _WORKER.ask(gold, parsed, seconds)


def _serve() -> None:
    import logging

    import math_verify  # noqa: F401 (before the clock of the first question runs)

    logging.disable(logging.WARNING)  # it warns that its own time limit is off, at every call
    answers = sys.stdout
    sys.stdout = sys.stderr  # nothing else may write between the answers
    print("ready", file=answers, flush=True)
    for line in sys.stdin:  # ends when the parent does, however it dies
        gold, parsed, seconds = json.loads(line)
        # the system's alarm ends this process in C code, too, where the parent no longer can
        signal.setitimer(signal.ITIMER_REAL, seconds + OVERTIME)
        try:
            verdict = equal(gold, parsed)
        except Exception:  # a parser's failure on a model's text says: not equal
            verdict = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(verdict), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
