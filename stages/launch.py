"""`rosd`, the command. It imports next to nothing: a stage of a pipeline that `rosd repro` runs is
handed to the parent process that has imported its libraries already, and starts there at once
(stages/parent.py). Everywhere else, and where that process does not fit or has gone, the command
runs here, as it always did.
"""

import os
import sys

PARENT = "ROSD_PARENT"  # the environment variable that names the parent's socket
# that run in children of the parent; `prepare`, the first of all, needs none of what that imports
# and runs in its own process meanwhile
STAGES = ("rollout", "reflect", "align", "score", "distill", "evaluate", "report")


def main() -> None:
    """Run the command of sys.argv, and end with its exit code."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    if command == "repro":
        from stages.parent import run_and_leave, start

        if start():  # comes back in each child of a stage, too: sys.argv is that stage's
            from stages.cli import app

            run_and_leave(app)
    elif PARENT in os.environ and command in STAGES:
        from stages.handover import hand_over

        hand_over(os.environ[PARENT])  # comes back where the parent takes no stage
    from stages.cli import app

    app()


if __name__ == "__main__":
    main()
