"""The tables of the pipeline: one pyarrow schema each, with a description and a unit per column.

`rosd schema` prints this dictionary. Token columns of one row always run in parallel: entry t of
`response_ids` and of `behaviour_logp` belong to the same sampled token. Log-probabilities are
natural logarithms (nats).
"""

import pyarrow as pa


def _field(
    name: str, arrow_type: pa.DataType, unit: str, text: str, *, nullable: bool = False
) -> pa.Field:
    return pa.field(name, arrow_type, nullable, {"unit": unit, "description": text})


def _schema(*fields: pa.Field) -> pa.Schema:
    return pa.schema(list(fields))


_STR, _INT, _FLOAT, _BOOL = pa.string(), pa.int32(), pa.float32(), pa.bool_()
_IDS, _LOGPS = pa.list_(pa.int32()), pa.list_(pa.float32())
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

_ROLLOUT_ID = _field("rollout_id", _STR, "id", "problem_id/sample: one sampled response")
_PROBLEM_ID = _field("problem_id", _STR, "id", "the problem it answers")
_SHORTENED = _field(
    "shortened",
    _STR,
    "JSON",
    "characters left out of the middle of each part to make the prompt fit; null: none",
    nullable=True,
)

SCHEMAS: dict[str, pa.Schema] = {
    "problems": _schema(
        _field("problem_id", _STR, "id", "domain-split-number"),
        _field("domain", _STR, "name", "key of prepare.domains"),
        _field("task", _STR, "name", "task of the domain, as in prepare.domains"),
        _field("split", _STR, "train|test", "train: sampled for distillation; test: evaluated"),
        _field("system", _STR, "text", "system message, where the problem has one", nullable=True),
        _field("prompt", _STR, "text", "the problem as the student reads it"),
        _field("answer", _STR, "text", "gold answer"),
        _field("solution", _STR, "text", "reference solution", nullable=True),
        _field("grader", _STR, "name", "key of GRADERS in rosd_core/graders/graders.py"),
        _field("grader_data", _STR, "JSON", "further input of the grader", nullable=True),
    ),
    "rollouts": _schema(
        _ROLLOUT_ID,
        _PROBLEM_ID,
        _field("sample", _INT, "index", "0..G-1 within the group"),
        _field("prompt_ids", _IDS, "token ids", "plain prompt, chat template applied"),
        _SHORTENED,
        _field("response_ids", _IDS, "token ids", "the ids that were sampled, end token included"),
        _field("response", _STR, "text", "decoded response without special tokens"),
        _field(
            "behaviour_logp",
            _LOGPS,
            "nats",
            "log-probability under the distribution that was sampled from: after temperature and "
            "top_p",
        ),
        _field(
            "student_logp",
            _LOGPS,
            "nats",
            "log-probability under the weights that sampled, at temperature 1 and over all ids",
        ),
        _field(
            "finish_reason",
            _STR,
            "stop|length",
            "stop: end token sampled; length: cut at max_new_tokens",
        ),
        _field("reward", _FLOAT, "0..1", "the grader's reward"),
        _field("success", _BOOL, "flag", "reward >= 0.5"),
        _field("parsed_answer", _STR, "text", "the answer the grader found", nullable=True),
        _field("answer_format", _STR, "enum", "ok | missing | malformed | timeout"),
        _field("feedback", _STR, "text", "the grader's explanation of its verdict"),
        _field(
            "seed",
            pa.uint64(),
            "seed",
            "sampling seed of this row: a function of (seed, iteration, rollout_id)",
        ),
        _field("model", _STR, "hash", "fingerprint of the weights that sampled"),
    ),
    "reflections": _schema(
        _ROLLOUT_ID,
        _PROBLEM_ID,
        _field("kind", _STR, "wrong|correct", "what was reflected on"),
        _field(
            "peer_id",
            _STR,
            "id",
            "a correct rollout of the group, never itself: the demonstration for kind wrong",
            nullable=True,
        ),
        _field(
            "messages",
            _MESSAGES,
            "chat",
            "what the reflector read; null where skipped",
            nullable=True,
        ),
        _SHORTENED,
        _field("raw", _STR, "text", "the reflector's answer; null where skipped", nullable=True),
        _field(
            "idea", _STR, "text", "corrective idea (explanation); null unless parsed", nullable=True
        ),
        _field(
            "quotes",
            pa.list_(pa.string()),
            "texts",
            "error quotes; empty for kind correct, null where skipped",
            nullable=True,
        ),
        _field("status", _STR, "enum", "ok | no_idea | no_quote | truncated | skipped"),
        _field(
            "repairs",
            pa.list_(pa.string()),
            "enums",
            "what parsing repaired: thought, fence, unclosed, several_ideas, json, heading",
            nullable=True,
        ),
        _field("attempts", _INT, "count", "how often the reflector was asked; 0 where it was not"),
        _field("answer_tokens", _INT, "token", "sampled in all attempts together"),
        _field(
            "skip_reason",
            _STR,
            "enum",
            "no_success (no correct peer in the group) | disabled | not_in_file (reflect.file); "
            "null unless skipped",
            nullable=True,
        ),
        _field(
            "model",
            _STR,
            "hash or name",
            "the reflector: fingerprint of its weights, or its name on a server; null where none "
            "was asked",
            nullable=True,
        ),
    ),
    "alignments": _schema(
        _ROLLOUT_ID,
        _PROBLEM_ID,
        _field("kind", _STR, "wrong|correct", "from the reflection"),
        _field(
            "teacher_context",
            _STR,
            "enum",
            "what the teacher reads: idea | peer | reference | none (there is no teacher); null "
            "where skipped",
            nullable=True,
        ),
        _field(
            "quotes",
            _QUOTES,
            "places",
            "each error quote: match (exact | normalised | ellipsis | fuzzy | head | none), "
            "candidates (places where it could be), char_start, char_end (exclusive) in response; "
            "of a head the quote may go on after char_end; null without quote",
            nullable=True,
        ),
        _field("positions", _IDS, "token", "supervised indices of response_ids; empty if skipped"),
        _field(
            "first_token",
            _INT,
            "token",
            "the first of positions; null where skipped",
            nullable=True,
        ),
        _field("response_tokens", _INT, "token", "length of response_ids"),
        _field(
            "weight",
            _FLOAT,
            "factor",
            "row weight in the loss: 1 or the group-normalised advantage; null where all rewards "
            "of the group are equal",
            nullable=True,
        ),
        _field(
            "policy",
            _STR,
            "enum",
            "quote | all (correct) | drop; no quote found: whole | from_first_difference | drop",
        ),
        _field("status", _STR, "enum", "supervised | skipped"),
        _field(
            "skip_reason",
            _STR,
            "enum",
            "why skipped: the reflection's status or skip_reason, quote_not_found, "
            "first_quote_not_found (a later one was), no_token (every token is skipped), "
            "lone_success (no peer), wrong, correct, all_success, no_contrast (equal rewards)",
            nullable=True,
        ),
    ),
    "scores": _schema(
        _ROLLOUT_ID,
        _PROBLEM_ID,
        _field("kind", _STR, "wrong|correct", "from the reflection"),
        _field("prompt_ids", _IDS, "token ids", "the student's plain prompt"),
        _field(
            "teacher_prompt_ids",
            _IDS,
            "token ids",
            "problem and teacher context, chat template applied; empty without teacher",
        ),
        _SHORTENED,
        _field("response_ids", _IDS, "token ids", "the sampled response"),
        _field("positions", _IDS, "token", "N: supervised indices of response_ids, ascending"),
        _field("behaviour_logp", _LOGPS, "nats", "of the N supervised tokens"),
        _field("weight", _FLOAT, "factor", "row weight in the loss, from alignments"),
        _field(
            "student_logp",
            _LOGPS,
            "nats",
            "the sampling weights' log-probability of each supervised token, at temperature 1; "
            "that of rollouts where nothing is scored",
        ),
        _field(
            "teacher_logp", _LOGPS, "nats", "the teacher's log-probability of each supervised token"
        ),
        _field(
            "support_ids",
            pa.list_(_IDS),
            "token ids",
            "N x K: ids whose teacher log-probabilities are kept",
        ),
        _field(
            "support_logp",
            pa.list_(_LOGPS),
            "nats",
            "N x K: true (not renormalised) teacher log-probabilities",
        ),
        _field("tail_logp", _LOGPS, "nats", "N: teacher log(1 - sum of the K probabilities)"),
        _field(
            "divergence",
            _LOGPS,
            "nats",
            "N: JSD(alpha=0.5) of student and teacher on support and tail",
        ),
        _field(
            "teacher_hidden",
            pa.large_binary(),
            "bfloat16",
            "N x H: the teacher's final hidden states, row by row (score.targets: hidden)",
            nullable=True,
        ),
        _field(
            "support",
            _STR,
            "student|teacher|union|full|none",
            "whose top-k ids the loss compares on; full: all ids; none: no targets",
        ),
        _field(
            "status",
            _STR,
            "enum",
            "scored | deferred (the teacher is run by distill) | no_teacher (context none) | "
            "too_long (teacher prompt and response exceed the model's context) | negative_lift "
            "(its own idea makes the error likelier, see score.row_lift); the last two are not "
            "trained on",
        ),
        _field(
            "teacher",
            _STR,
            "hash",
            "fingerprint of the teacher's weights; null where there is no teacher",
            nullable=True,
        ),
    ),
    "evaluation": _schema(
        _field("iteration", _STR, "name", "base or an iteration of the loop"),
        _PROBLEM_ID,
        _field("domain", _STR, "name", "the problem's domain"),
        _field("sample", _INT, "index", "0..k-1"),
        _SHORTENED,
        _field("response", _STR, "text", "decoded response"),
        _field("parsed_answer", _STR, "text", "the answer the grader found", nullable=True),
        _field("reward", _FLOAT, "0..1", "the grader's reward"),
        _field("success", _BOOL, "flag", "reward >= 0.5"),
        _field("response_tokens", _INT, "token", "length of the response"),
        _field("finish_reason", _STR, "stop|length", "as in rollouts"),
    ),
}
