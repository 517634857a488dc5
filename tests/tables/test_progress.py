import io
import re
import sys

import pytest

from rosd_core.tables.progress import Progress, duration, report_steps, reporting, silent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def timed(stream):
    """A Progress on a clock that the test sets."""
    now = [0.0]
    return now, Progress("rollouts", stream, lambda: now[0])


def test_lines_by_hand():
    stream = io.StringIO()
    now, progress = timed(stream)
    now[0] = 5.0  # the model was loaded: time counts from the first shard
    progress.shard(1, 40, 100)
    for seconds, done in ((9.0, 3), (16.0, 3), (20.0, 5), (25.0, 10)):
        now[0] = seconds
        progress.report(done, 20, 33)
    now[0] = 45.0
    progress.shard_done(20)
    progress.shard(2, 40, 100)
    now[0] = 65.0
    progress.report(5, 20, 68)
    assert stream.getvalue().splitlines() == [
        # after 11 s, 66 tokens and 3 of 20 rows of 40 of 100 items: 6 %; 11 x 94 / 6 = 172 s left
        "rollouts: shard 1/3, 3 of 20 rows, 6 tokens/s, about 3 min left",
        # at 20 s the last line was 4 s old; at 25 s it is 9 s old
        "rollouts: shard 1/3, 20 rows, 40.0 s",
        # after 60 s, 200 tokens and 40 + 10 of 100 items
        "rollouts: shard 2/3, 5 of 20 rows, 3 tokens/s, about 60 s left",
    ]


def test_without_a_row_done_no_time_is_promised():
    stream = io.StringIO()
    now, progress = timed(stream)
    now[0] = 10.0
    progress.report(0, 4, 50)
    assert stream.getvalue() == "rollouts: 0 of 4 rows, 5 tokens/s\n"


def screen(text: str) -> list[str]:
    r"""The lines that a terminal shows after it was sent `text`, without empty ones at the end. It
    knows \r, \n, and the sequences that erase a line and that move the cursor up.
    """
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part.endswith("K") and part[0] == "\x1b":
            lines[row] = ""
        elif part.endswith("A") and part[0] == "\x1b":
            row -= int(part[2:-1])
        elif part[0] not in "\r\x1b":
            lines[row] += part
    return "\n".join(lines).rstrip("\n").split("\n")


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def test_a_terminal_shows_a_bar_below_the_shards_that_are_done(terminal):
    now, progress = timed(terminal)
    with progress:
        progress.shard(1, 4, 8)
        for seconds, done in ((0.2, 0), (10.0, 1)):  # the first one is too early
            now[0] = seconds
            progress.report(done, 2, 10)
        # half of the first of two shards is done after 10 s: 30 s are left
        line = "  25%  shard 1/2, 1 of 2 rows, 2 tokens/s, about 30 s left"
        (shown,) = screen(terminal.getvalue())
        assert shown.startswith("rollouts ━━━")
        assert shown.endswith(line)
        assert len(shown) <= 80
        progress.shard_done(2)
        above, below = screen(terminal.getvalue())
        assert above == "rollouts: shard 1/2, 2 rows, 10.0 s"
        assert below == shown
    assert screen(terminal.getvalue()) == [above]


def test_an_interruption_leaves_no_bar_no_hidden_cursor_and_the_same_stderr(terminal):
    before = sys.stderr
    now, progress = timed(terminal)
    with pytest.raises(KeyboardInterrupt), progress:
        now[0] = 1.0
        progress.report(1, 2, 10)
        assert "1 of 2 rows" in screen(terminal.getvalue())[0]
        raise KeyboardInterrupt
    assert screen(terminal.getvalue()) == [""]
    assert "\x1b[?25l" not in terminal.getvalue()
    assert sys.stderr is before


def test_a_warning_while_the_bar_is_shown_stays_above_it(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal)
    now, progress = timed(terminal)
    with progress:
        now[0] = 1.0
        progress.report(1, 2, 10)
        print("rosd score: [b]a warning[/b]", file=sys.stderr)
    assert screen(terminal.getvalue()) == ["rosd score: [b]a warning[/b]"]


def test_a_dumb_terminal_gets_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    now, progress = timed(terminal)
    now[0] = 10.0
    progress.report(1, 4, 50)
    assert terminal.getvalue() == "rollouts: 1 of 4 rows, 5 tokens/s, about 30 s left\n"


@pytest.mark.parametrize(("value", "is_quiet"), [("1", True), ("", False), ("0", False)])
def test_rosd_quiet(terminal, monkeypatch, value, is_quiet):
    monkeypatch.setenv("ROSD_QUIET", value)
    for stream in (io.StringIO(), terminal):
        now, progress = timed(stream)
        with progress:
            progress.kept(1, 3, "shards")
            progress.shard(2, 1, 3)
            now[0] = 10.0
            progress.report(1, 2, 10)
            progress.shard_done(2)
        assert (stream.getvalue() == "") is is_quiet


def test_only_the_first_process_of_an_epoch_reports(capsys):
    with reporting("distill", wanted=False) as report:
        assert report is silent
    with reporting("distill", wanted=True) as report:
        report(1, 2, 3)
    assert capsys.readouterr().err == ""  # too early for a line


def test_durations_by_hand():
    seconds = (0, 99, 100, 5999, 6000, 86400)
    assert [duration(s) for s in seconds] == ["0 s", "99 s", "2 min", "100 min", "1.7 h", "24.0 h"]


def test_a_step_is_reported_when_the_next_one_is_asked_for():
    found = []
    rows = [{"positions": [0] * n} for n in (1, 2, 3)]
    steps = report_steps([rows[:2], rows[2:]], 3, lambda *numbers: found.append(numbers))
    assert next(steps) == rows[:2]
    assert found == []
    assert next(steps) == rows[2:]
    assert found == [(2, 3, 3)]
    assert list(steps) == []
    assert found[1:] == [(3, 3, 3)]
