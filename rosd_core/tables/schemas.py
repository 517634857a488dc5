"""The tables of the pipeline: one pyarrow schema each, with a description and a unit per column.

`rosd schema` prints this dictionary. Token columns of one row always run in parallel: entry t of
`response_ids` and of `behaviour_logp` belong to the same sampled token. Log-probabilities are
natural logarithms (nats).
"""

import pyarrow as pa

from rosd_core.tables.fields import (
    BOOL,
    FLOAT,
    IDS,
    INT,
    LOGPS,
    PROBLEM_ID,
    ROLLOUT_ID,
    SHORTENED,
    STR,
    field,
    schema,
)
from rosd_core.tables.scores_schema import SCORES

_QUOTES = pa.list_(
    pa.struct(
        [
            ("quote", pa.string()),
            ("match", pa.string()),
            ("candidates", pa.int32()),
            ("char_start", pa.int32()),
            ("char_end", pa.int32()),
        ]
    )
)
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

SCHEMAS: dict[str, pa.Schema] = {
    "problems": schema(
        field("problem_id", STR, "id", "domain-split-number"),
        field("domain", STR, "name", "key of prepare.domains"),
        field("task", STR, "name", "task of the domain, as in prepare.domains"),
        field("split", STR, "train|test", "train: sampled for distillation; test: evaluated"),
        field("system", STR, "text", "system message, where the problem has one", nullable=True),
        field("prompt", STR, "text", "the problem as the student reads it"),
        field("answer", STR, "text", "gold answer"),
        field("solution", STR, "text", "reference solution", nullable=True),
        field("grader", STR, "name", "key of GRADERS in rosd_core/graders/graders.py"),
        field("grader_data", STR, "JSON", "further input of the grader", nullable=True),
    ),
    "rollouts": schema(
        ROLLOUT_ID,
        PROBLEM_ID,
        field("sample", INT, "index", "0..G-1 within the group"),
        field("prompt_ids", IDS, "token ids", "plain prompt, chat template applied"),
        SHORTENED,
        field("response_ids", IDS, "token ids", "the ids that were sampled, end token included"),
        field("response", STR, "text", "decoded response without special tokens"),
        field(
            "behaviour_logp",
            LOGPS,
            "nats",
            "log-probability under the distribution that was sampled from: after temperature and "
            "top_p; with rollout.file what the file says, else student_logp",
        ),
        field(
            "student_logp",
            LOGPS,
            "nats",
            "log-probability under the student's weights, which sampled, at temperature 1 and over "
            "all ids",
        ),
        field(
            "finish_reason",
            STR,
            "stop|length",
            "stop: end token sampled; length: cut at max_new_tokens",
        ),
        field("reward", FLOAT, "0..1", "the grader's reward"),
        field("success", BOOL, "flag", "reward >= 0.5"),
        field("parsed_answer", STR, "text", "the answer the grader found", nullable=True),
        field("answer_format", STR, "enum", "ok | missing | malformed | timeout | error"),
        field("feedback", STR, "text", "the grader's explanation of its verdict"),
        field(
            "seed",
            pa.uint64(),
            "seed",
            "sampling seed of this row: a function of (seed, iteration, rollout_id)",
        ),
        field(
            "model",
            STR,
            "hash",
            "fingerprint of the student's weights, which sampled; with rollout.file they only read",
        ),
    ),
    "reflections": schema(
        ROLLOUT_ID,
        PROBLEM_ID,
        field("kind", STR, "wrong|correct", "what was reflected on"),
        field(
            "peer_id",
            STR,
            "id",
            "a correct rollout of the group, never itself: the demonstration for kind wrong; "
            "null where there is none (see reflect.no_success)",
            nullable=True,
        ),
        field(
            "messages",
            _MESSAGES,
            "chat",
            "what the reflector read; null where skipped",
            nullable=True,
        ),
        SHORTENED,
        field("raw", STR, "text", "the reflector's answer; null where skipped", nullable=True),
        field(
            "idea", STR, "text", "corrective idea (explanation); null unless parsed", nullable=True
        ),
        field(
            "quotes",
            pa.list_(pa.string()),
            "texts",
            "error quotes; empty for kind correct, null where skipped",
            nullable=True,
        ),
        field("status", STR, "enum", "ok | no_idea | no_quote | truncated | skipped"),
        field(
            "repairs",
            pa.list_(pa.string()),
            "enums",
            "what parsing repaired: thought, fence, unclosed, several_ideas, many_quotes (more "
            "than 16: the first are taken), json, heading",
            nullable=True,
        ),
        field("attempts", INT, "count", "how often the reflector was asked; 0 where it was not"),
        field("answer_tokens", INT, "token", "sampled in all attempts together"),
        field(
            "skip_reason",
            STR,
            "enum",
            "no_success (no correct peer in the group; reflect.no_success) | disabled | "
            "not_in_file (reflect.file); null unless skipped",
            nullable=True,
        ),
        field(
            "model",
            STR,
            "hash or name",
            "the reflector: fingerprint of its weights, or its name on a server; null where none "
            "was asked",
            nullable=True,
        ),
    ),
    "alignments": schema(
        ROLLOUT_ID,
        PROBLEM_ID,
        field("kind", STR, "wrong|correct", "from the reflection"),
        field(
            "teacher_context",
            STR,
            "enum",
            "what the teacher reads: idea | peer | reference | feedback | feedback_peer | "
            "critique | plain (the student's own prompt) | none (there is no teacher); null where "
            "skipped",
            nullable=True,
        ),
        field(
            "quotes",
            _QUOTES,
            "places",
            "each error quote: match (exact | normalised | ellipsis | fuzzy | head | none), "
            "candidates (places where it could be, at most 128), char_start, char_end (exclusive) "
            "in response; of a head the quote may go on after char_end; null without quote",
            nullable=True,
        ),
        field(
            "quotes_cut",
            INT,
            "count",
            "quotes whose fuzzy search was cut short: those before them had used up the row's work",
        ),
        field("positions", IDS, "token", "supervised indices of response_ids; empty if skipped"),
        field(
            "first_token",
            INT,
            "token",
            "the first of positions; null where skipped",
            nullable=True,
        ),
        field("response_tokens", INT, "token", "length of response_ids"),
        field(
            "weight",
            FLOAT,
            "factor",
            "row weight in the loss: 1 or the group-normalised advantage; null where all rewards "
            "of the group are equal",
            nullable=True,
        ),
        field(
            "policy",
            STR,
            "enum",
            "quote | all (correct) | divergence (score drops the tokens before the first one that "
            "exceeds score.divergence_threshold) | drop; no quote found: whole | "
            "from_first_difference | divergence | drop",
        ),
        field("status", STR, "enum", "supervised | skipped"),
        field(
            "skip_reason",
            STR,
            "enum",
            "why skipped: the reflection's status or skip_reason, quote_not_found, "
            "first_quote_not_found (a later one was), no_token (every token is skipped), "
            "lone_success (no peer), no_feedback (context feedback, correct rollout), wrong, "
            "correct, all_success, no_contrast (equal rewards; with align.weight pass_rate all or "
            "none succeed)",
            nullable=True,
        ),
    ),
    "scores": SCORES,
    "evaluation": schema(
        field("iteration", STR, "name", "base or an iteration of the loop"),
        PROBLEM_ID,
        field("domain", STR, "name", "the problem's domain"),
        field("sample", INT, "index", "0..k-1"),
        SHORTENED,
        field("response", STR, "text", "decoded response"),
        field("parsed_answer", STR, "text", "the answer the grader found", nullable=True),
        field("reward", FLOAT, "0..1", "the grader's reward"),
        field("success", BOOL, "flag", "reward >= 0.5"),
        field("response_tokens", INT, "token", "length of the response"),
        field("finish_reason", STR, "stop|length", "as in rollouts"),
    ),
    "study": schema(
        field("arm", STR, "label", "the values of its axes, such as `rosd, forward KL, 2e-05`"),
        field("point", STR, "JSON", "axis -> value"),
        field("seed", INT, "seed", "one of the study's seeds"),
        field("weights", STR, "hash", "fingerprint of the base model"),
        field("settings", STR, "JSON", "all params of the run"),
        field("iteration", STR, "name", "base or an iteration"),
        field(
            "quantity",
            STR,
            "name",
            "stage.key of metrics/<stage>-<iteration>.json, seconds.<stage>, "
            "opening_shift.<domain>, or failed",
        ),
        field("value", pa.float64(), "as named", "its value; of failed: 1"),
        field("note", STR, "text", "of failed: the message that stopped the run", nullable=True),
    ),
}
