import io

from rosd_core.tables.progress import Progress, duration, report_steps


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


def test_a_terminal_shows_one_line_until_the_shard_is_done():
    stream = Terminal()
    now, progress = timed(stream)
    progress.shard(1, 8, 8)
    now[0] = 10.0
    progress.report(1, 2, 20)
    progress.shard_done(2)
    line = "rollouts: shard 1/1, 1 of 2 rows, 2 tokens/s, about 10 s left"
    assert stream.getvalue() == f"\r\x1b[K{line}\r\x1b[Krollouts: shard 1/1, 2 rows, 10.0 s\n"


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
