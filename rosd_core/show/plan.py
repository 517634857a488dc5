"""A plan in the terminal: what `rosd plan` prints."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rosd_core.plan.hardware import GIB
from rosd_core.plan.lines import Line
from rosd_core.plan.plan import Plan
from rosd_core.show.inventory import size
from rosd_core.show.layout import print_indented

SUFFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float) -> str:
    """A number in three digits: 812, 38.2k, 1.40M, 2.00T; nothing for 0."""
    if value == 0:
        return ""
    for unit, suffix in SUFFIXES:
        if value >= unit:
            return f"{value / unit:.3g}{suffix}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """`12 s`, `3.5 min`, `7.2 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def print_plan(console: Console, plan: Plan) -> None:
    """Print the table of an iteration, the loop's sums, what to change, and where numbers are
    from.
    """
    shape = plan.shape
    console.print(
        f"{count(shape.parameters)} parameters, {shape.layers} layers of width {shape.hidden}, "
        f"{shape.vocabulary} ids; on {plan.hardware.name}, "
        f"{plan.hardware.memory / GIB:.1f} GiB free"
    )
    console.print()
    print_indented(console, _stages(plan), 0)
    console.print()
    for line in plan.advice:
        console.print(Text(line, "" if line.startswith(" ") else "bold yellow"))
    if plan.advice:
        console.print()
    numbers = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("from", "", "origin"):
        numbers.add_column(name, justify="right" if not name else "left")
    for name, known in plan.numbers.items():
        numbers.add_row(name, f"{known.value:.4g}", known.origin)
    print_indented(console, numbers, 0)


def _stages(plan: Plan) -> Table:
    """A row per stage, and one for the loop."""
    cuda = plan.hardware.device == "cuda"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    memory = "GPU memory" if cuda else "memory"
    for name in ("tokens:", "read", "sampled", "learnt", "FLOP", "disk", memory, "time"):
        table.add_column(name, justify="left" if name == "tokens:" else "right", no_wrap=True)
    for line in plan.iteration:
        table.add_row(*_cells(line))
    loop, one = plan.loop, plan.iteration
    sums = [sum(line.seconds for line in one), sum(line.flops for line in one)]
    table.add_row()
    disk = sum(sum(line.disk.values()) for line in one)
    read, sampled = sum(x.read for x in one), sum(x.sampled for x in one)
    table.add_row(
        "an iteration", count(read), count(sampled), "", count(sums[1]), size(round(disk)), "",
        duration(sums[0]),
    )  # fmt: skip
    if plan.iterations > 1:
        table.add_row(
            f"{plan.iterations} iterations", count(loop["read"]), count(loop["sampled"]), "",
            count(loop["flops"]), size(round(loop["disk"])), "", duration(loop["seconds"]),
        )  # fmt: skip
    return table


def _cells(line: Line) -> list[str | Text]:
    sign = "" if line.fits else "! "
    memory = Text(f"{sign}{line.memory.total / GIB:.1f} GiB", "bold red" if sign else "")
    tokens = (count(value) for value in (line.read, line.sampled, line.supervised))
    disk = size(round(sum(line.disk.values())))
    return [line.stage, *tokens, count(line.flops), disk, memory, duration(line.seconds)]
