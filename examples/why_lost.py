"""What becomes of the wrong responses: how many are left after each step, and why the others are
lost. SQL on the Parquet files.

    python examples/why_lost.py [--iteration i1]

Needs duckdb: pip install -e '.[examples]'.
"""

from pathlib import Path

import typer

try:
    import duckdb
except ModuleNotFoundError:
    raise SystemExit("why_lost.py needs duckdb: pip install -e '.[examples]'") from None

STEPS = ("reflected on", "readable", "quote found", "supervised", "trained on")

# a wrong response is lost at the first step that it does not pass
LOST = """
WITH placed AS (
    SELECT
        CASE
            WHEN reflection.status = 'skipped' THEN 'reflected on'
            WHEN reflection.status <> 'ok' THEN 'readable'
            WHEN alignment.skip_reason IN ('quote_not_found', 'first_quote_not_found')
                THEN 'quote found'
            WHEN alignment.status = 'skipped' THEN 'supervised'
            WHEN score.status NOT IN ('scored', 'deferred', 'no_teacher') THEN 'trained on'
        END AS step,
        coalesce(alignment.skip_reason, score.status) AS reason
    FROM read_parquet($folder || '/rollouts.parquet') AS rollout
    JOIN read_parquet($folder || '/reflections.parquet') AS reflection USING (rollout_id)
    JOIN read_parquet($folder || '/alignments.parquet') AS alignment USING (rollout_id)
    LEFT JOIN read_parquet($folder || '/scores.parquet') AS score USING (rollout_id)
    WHERE NOT rollout.success
)
SELECT step, reason, count(*) AS rows
FROM placed
WHERE step IS NOT NULL
GROUP BY step, reason
ORDER BY rows DESC, reason
"""
COUNTS = """
SELECT count(*), count(*) FILTER (NOT success)
FROM read_parquet($folder || '/rollouts.parquet')
"""

Losses = list[tuple[str, int]]  # reason, rows


def funnel(folder: Path) -> list[tuple[str, int, Losses]]:
    """Each step with the number of responses that pass it, and why the others do not."""
    where = {"folder": str(folder)}
    counted = duckdb.execute(COUNTS, where).fetchone() or (0, 0)
    lost: dict[str, Losses] = {step: [] for step in STEPS}
    for step, reason, rows in duckdb.execute(LOST, where).fetchall():
        lost[step].append((reason, rows))
    left = counted[1]
    found: list[tuple[str, int, Losses]] = [("rollouts", counted[0], []), ("wrong", left, [])]
    for step in STEPS:
        left -= sum(rows for _, rows in lost[step])
        found.append((step, left, lost[step]))
    return found


def main(iteration: str = "i1", project: Path = Path()) -> None:
    folder = project / "iterations" / iteration
    if not (folder / "scores.parquet").is_file():
        raise SystemExit(f"{folder}/scores.parquet: no such file; run `dvc repro` first.")
    for step, rows, lost in funnel(folder):
        reasons = ", ".join(f"{count} {reason}" for reason, count in lost)
        print(f"{step:14}{rows:7}" + (f"   lost: {reasons}" if reasons else ""))


if __name__ == "__main__":
    typer.run(main)
