"""`rosd doctor`: the project and the installation."""

from typing import Annotated

import typer

from stages.cli_models import DEFAULT_PARAMS, ParamsFile
from stages.messages import messages


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Check the installation, too: a line per check.")
    ] = False,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Say what is broken in the project, for example after a kill, or in the installation."""
    with messages("doctor"):
        from rosd_core.errors import RosdError
        from stages.doctor import examine, examine_installation

        left = []
        for found in examine(params):
            if fix and found.mend is not None:
                typer.echo(f"{found.told}: {found.mend()}")
                continue
            hint = "" if found.mend is None else "; `rosd doctor --fix` mends it"
            left.append(f"{found.told}{hint}")
        checks = examine_installation(params, everything)
        if everything:
            from rosd_core.project.checks import Check
            from rosd_core.show.checks import print_checks

            whole = [] if left else [Check("project", "nothing is broken")]
            print_checks([*checks, *whole])
        left += [check.told for check in checks if check.state == "wrong"]
        if left:
            raise RosdError("\n".join(dict.fromkeys(left)))
