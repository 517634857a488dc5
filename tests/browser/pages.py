"""Pages for the tests: hand-made rollouts of the built-in model's tokenizer, without a pipeline."""

from pathlib import Path
from typing import Any

import polars as pl

from rosd_core.align.token_spans import TokenMap
from rosd_core.report.page.charts import accuracy_points, training_charts
from rosd_core.report.page.outcomes import step_of
from rosd_core.report.page.page import Content, render
from rosd_core.report.page.payload import Page
from tests.support import ROOT

TOKENS = TokenMap.of_folder(ROOT / "models" / "base")


STUDY = {
    "title": "A study",
    "points": [
        {"arm": arm, "setting": f"{arm}, 2e-05", "place": place, "seeds": 5, "mean": mean,
         "low": mean - 1, "high": mean + 1}
        for place in ("in domain", "out of domain")
        for arm, mean in (("rosd", 90.0), ("opsd", 85.0))
    ],
}  # fmt: skip


def rollout(
    problem: str,
    sample: int,
    response: str,
    quote: str | None = None,
    reason: str | None = None,
    peer: str | None = None,
    divergence: float = 0.3,
) -> dict[str, Any]:
    """A row as `Page.add` wants it. With a quote it is wrong and supervised from the token on that
    holds the quote's first character; its tokens all have the same divergence. With a reason it is
    wrong and lost; with neither, correct.
    """
    ids = TOKENS.tokenizer.encode(response, add_special_tokens=False).ids
    spans, positions, quotes = TOKENS.spans(ids, response), [], None
    if quote is not None:
        start = response.index(quote)
        positions = [t for t, (_, end) in enumerate(spans.tolist()) if end > start]
        place = {"char_start": start, "char_end": start + len(quote)}
        quotes = [{"quote": quote, "match": "exact", **place}]
    n, reason = len(positions), reason if quote is None else None
    lost = reason or (None if quote else "correct")
    scored = {
        "positions": positions, "response_ids": ids, "divergence": [divergence] * n,
        "student_logp": [-0.5] * n, "teacher_logp": [-3.0] * n,
        "student_top_ids": [[ids[t], 5] for t in positions], "student_top_logp": [[-0.5, -1.0]] * n,
        "teacher_top_ids": [[5, ids[t]] for t in positions], "teacher_top_logp": [[-0.1, -3.0]] * n,
    }  # fmt: skip
    return {
        "rollout_id": f"{problem}/{sample}", "problem_id": problem, "sample": sample,
        "success": quote is None and reason is None, "reward": 0.0 if quote or reason else 1.0,
        "kind": "wrong" if quote or reason else "correct", "step": lost and step_of(lost),
        "reason": lost, "match": quotes and "exact", "policy": "quote", "context": "idea",
        "tokens": len(ids), "supervised": n, "divergence": divergence if n else None,
        "worth": divergence if positions and positions[0] else None,
        "response": response, "response_ids": ids, "parsed_answer": "7", "feedback": "expected 8",
        "answer_format": "ok", "finish_reason": "stop", "idea": quote and f"Look at {quote} again.",
        "raw": "no tags here" if reason else None, "peer_id": peer and f"{problem}/{peer}",
        "quotes": quotes, "positions": positions, "scored": scored if n else None,
    }  # fmt: skip


def page_of(
    rollouts: dict[str, list[dict[str, Any]]], prompts: dict[str, str], title: str = "hand-made"
) -> str:
    """The page of the rollouts of each iteration; the domain is a problem's id up to the dash."""
    problems = [
        {"problem_id": name, "domain": name.split("-")[0], "system": None, "prompt": prompt,
         "answer": "8", "solution": "5+3=8"}
        for name, prompt in prompts.items()
    ]  # fmt: skip
    page, frames = Page(list(rollouts), problems), {}
    for iteration, rows in rollouts.items():
        page.add(iteration, rows, TOKENS)
        names = ("rollout_id", "kind", "step", "reason", "match", "context", "tokens", "supervised")
        frames[iteration] = pl.DataFrame(
            {name: [row[name] for row in rows] for name in names},
            schema_overrides={"step": pl.String, "reason": pl.String, "match": pl.String},
        )
    keys = ["base", *rollouts]
    accuracy = pl.DataFrame(
        [
            {"domain": domain, "iteration": key, "mean": 0.4 + 0.1 * n, "low": 0.3, "high": 0.8}
            for domain in ("chain", "story")
            for n, key in enumerate(keys)
        ]
    )
    curve = pl.DataFrame({"loss": [0.3, 0.2], "stale_kl": [0.0, 0.01], "grad_norm": [1.0, 0.5]})
    metrics = {key: {"rollout": {"success_share": 0.4}} for key in rollouts}
    return render(
        Content(
            title=title, facts=["base model: none"], notes=[title], keys=keys,
            samples=4, confidence=0.95, accuracy=accuracy_points(accuracy, ["chain"]),
            training=training_charts(dict.fromkeys(rollouts, curve), metrics), studies=[STUDY],
            rows=frames,
            blocks=page.blocks(), params="seed: 1",
        )
    )  # fmt: skip


def write_page(folder: Path, html: str) -> Path:
    file = folder / "report.html"
    file.write_text(html, encoding="utf-8")
    return file
