"""Where the teacher first disagrees with the student, against the error quote and the true error.

    rosd method rosd-no-localize && rosd align i1 && rosd score i1
    python benchmarks/onset.py [PROJECT] [--iteration i1]

For thresholds of `score.divergence_threshold`: the share of wrong responses in which the first
token whose divergence exceeds it lies before, on or after the lines of the earliest quote that is
found. The same for the true first error, where the world knows it (the pocket world). Reads tables
alone, of a project whose wrong responses are scored whole (align.mask all).
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rosd_core.align.cuts import lines_of
from rosd_core.align.fold import Span
from rosd_core.align.mask import token_range
from rosd_core.align.rows import find_quotes
from rosd_core.align.token_spans import TokenMap
from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from rosd_core.pocket.oracle import known_errors
from rosd_core.score.onset import onset
from rosd_core.tables.io import join_rows, read_table
from stages.paths import Paths, start_of

THRESHOLDS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
PLACES = ("before", "on", "after", "never")

Case = tuple[Sequence[float], tuple[int, int]]  # divergences of all tokens, tokens of the error


def place(first: int | None, tokens: tuple[int, int]) -> str:
    """Where the onset lies relative to the tokens [start, end) of an error."""
    if first is None:
        return "never"
    return "before" if first < tokens[0] else "on" if first < tokens[1] else "after"


def error_tokens(spans_T2: Any, response: str, span: Span) -> tuple[int, int]:
    """The tokens of the lines of an error; an error behind the last line is the last token."""
    start, end = token_range(spans_T2, lines_of(response, *span) if span[0] < span[1] else span)
    return min(start, len(spans_T2) - 1), end


def wrong_rows(paths: Paths, iteration: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of score row and rollout of the wrong responses whose tokens are all scored."""
    scores = read_table("scores", paths.table("scores", iteration)).filter(kind="wrong")
    rollouts = read_table("rollouts", paths.table("rollouts", iteration))
    pairs = join_rows(scores.iter_rows(named=True), rollouts.iter_rows(named=True))
    whole = [(s, r) for s, r in pairs if len(s["divergence"]) == len(r["response_ids"])]
    if not whole:
        raise RosdError("no wrong response is scored whole: set align.mask all, align, score.")
    return whole


def cases(paths: Paths, iteration: str) -> dict[str, list[Case]]:
    """The responses whose quote was found, and those whose true error is known."""
    params, pairs = load_params(paths.root / "params.yaml"), wrong_rows(paths, iteration)
    reflections = read_table("reflections", paths.table("reflections", iteration))
    reflected: dict[str, Any] = {r["rollout_id"]: r for r in reflections.iter_rows(named=True)}
    truth = known_errors(read_table("problems", paths.problems).to_dicts(), [r for _, r in pairs])
    token_map = TokenMap.of_folder(paths.model_folder(start_of(params, iteration)))
    found: dict[str, list[Case]] = {"quote": [], "true error": []}
    for scored, rollout in pairs:
        name, text = scored["rollout_id"], rollout["response"]
        quotes, _ = find_quotes(reflected[name], text, params.align.fuzzy_threshold)
        starts = [
            (q["char_start"], q["char_end"])
            for q in quotes
            if q["char_start"] is not None and q["char_end"] is not None
        ]
        spans_T2 = token_map.spans(rollout["response_ids"], text)
        for kind, span in (("quote", min(starts, default=None)), ("true error", truth.get(name))):
            if span is not None:
                tokens = error_tokens(spans_T2, text, span)
                found[kind].append((scored["divergence"], tokens))
    return found


def shares(rows: Sequence[Case], threshold: float) -> Mapping[str, float]:
    """The share of responses with their onset in each place."""
    counts = Counter(place(onset(divergence, threshold), tokens) for divergence, tokens in rows)
    return {name: counts[name] / len(rows) for name in PLACES}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("project", nargs="?", type=Path, default=Path())
    parser.add_argument("--iteration", default="i1")
    options = parser.parse_args()
    try:
        found = cases(Paths(options.project), options.iteration)
    except RosdError as error:
        sys.exit(f"onset: {error}")
    for kind, rows in found.items():
        if rows:
            print(f"\nThe onset and the {kind} of {len(rows)} wrong responses, in percent\n")
            print(f"| threshold | {' | '.join(PLACES)} |\n|{' --- |' * (1 + len(PLACES))}")
        for threshold in THRESHOLDS if rows else ():
            values = shares(rows, threshold).values()
            print(f"| {threshold} | {' | '.join(f'{100 * value:.1f}' for value in values)} |")


if __name__ == "__main__":
    main()
