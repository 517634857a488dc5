"""What tests/stages/test_parent.py starts in other processes.

python -m tests.stages.parent_support keep    # as `rosd repro` does, without DVC; until stdin ends
python -m tests.stages.parent_support hand rollout i1    # a launcher that runs nothing itself
python -m tests.stages.parent_support probe    # what a process looks like that has no parent
"""

import json
import locale
import os
import random
import signal
import sys
import warnings

NOT_TAKEN = 99


def looks() -> dict[str, object]:
    """What a stage could notice of the process that it runs in."""
    import numpy as np
    import torch

    handlers = {n: signal.getsignal(n) for n in sorted(signal.valid_signals())}
    return {
        "argv": sys.argv[1:],
        "cwd": os.getcwd(),  # noqa: PTH109
        "umask": os.umask(0o22),
        "environment": dict(sorted(os.environ.items())),
        "locale": [locale.setlocale(locale.LC_ALL), sys.stdout.encoding, sys.stdout.errors],
        "buffers": [sys.stdout.line_buffering, sys.stderr.line_buffering, os.isatty(1)],
        "signals": {n: getattr(h, "__name__", str(h)) for n, h in handlers.items()},
        "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "flags": list(sys.flags),
        "warnings": [str(f) for f in warnings.filters],
        "torch": [str(torch.get_default_dtype()), torch.is_grad_enabled()],
        "hashes": hash("a string") if os.environ.get("PYTHONHASHSEED", "random") != "random" else 0,
        "drawn": [random.random(), np.random.rand(), torch.initial_seed(), torch.rand(1).item()],
    }


def main() -> None:
    from pathlib import Path

    from stages import handover, parent

    what, *sys.argv[1:] = sys.argv[1:]
    if what == "keep":
        parent.start()
        if len(sys.argv) == 1:
            print(os.environ["ROSD_PARENT"], flush=True)
            sys.stdin.read()
            return
    elif what == "hand":
        handover.hand_over(os.environ["ROSD_PARENT"])
        sys.exit(NOT_TAKEN)
    if sys.argv[1] == "probe":
        if what == "alone":
            parent.prepared(Path("params.yaml"))
        print(json.dumps(looks()))
        return
    from stages.cli import app

    app(prog_name="rosd")


if __name__ == "__main__":
    main()
