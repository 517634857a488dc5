"""The schema of the table `scores`."""

import pyarrow as pa

from rosd_core.tables.fields import (
    FLOAT,
    IDS,
    LOGPS,
    PROBLEM_ID,
    ROLLOUT_ID,
    SHORTENED,
    STR,
    field,
    schema,
)

SCORES = schema(
    ROLLOUT_ID,
    PROBLEM_ID,
    field("kind", STR, "wrong|correct", "from the reflection"),
    field("policy", STR, "enum", "from alignments; divergence: supervised from the onset on"),
    field("prompt_ids", IDS, "token ids", "the student's plain prompt"),
    field(
        "teacher_prompt_ids",
        IDS,
        "token ids",
        "problem and teacher context, chat template applied; empty without teacher",
    ),
    SHORTENED,
    field("response_ids", IDS, "token ids", "the sampled response"),
    field("positions", IDS, "token", "N: supervised indices of response_ids, ascending"),
    field("behaviour_logp", LOGPS, "nats", "of the N supervised tokens"),
    field("weight", FLOAT, "factor", "row weight in the loss, from alignments"),
    field(
        "student_logp",
        LOGPS,
        "nats",
        "the sampling weights' log-probability of each supervised token, at temperature 1; "
        "that of rollouts where nothing is scored",
    ),
    field("teacher_logp", LOGPS, "nats", "the teacher's log-probability of each supervised token"),
    field(
        "support_ids",
        pa.list_(IDS),
        "token ids",
        "N x K: ids whose teacher log-probabilities are kept",
    ),
    field(
        "support_logp",
        pa.list_(LOGPS),
        "nats",
        "N x K: true (not renormalised) teacher log-probabilities",
    ),
    field("tail_logp", LOGPS, "nats", "N: teacher log(1 - sum of the K probabilities)"),
    field(
        "divergence",
        LOGPS,
        "nats",
        "N: JSD(alpha=0.5) of student and teacher on support and tail",
    ),
    field(
        "student_entropy",
        LOGPS,
        "nats",
        "N: entropy of the student's next-token distribution over the whole vocabulary, at "
        "temperature 1; empty where nothing is scored",
    ),
    field(
        "student_top_ids",
        pa.list_(IDS),
        "token ids",
        "N x M: the student's likeliest ids, likeliest first (score.show_top; to look at, no loss "
        "reads them); empty where nothing is scored",
    ),
    field("student_top_logp", pa.list_(LOGPS), "nats", "N x M: their log-probabilities"),
    field("teacher_top_ids", pa.list_(IDS), "token ids", "N x M: the teacher's likeliest ids"),
    field("teacher_top_logp", pa.list_(LOGPS), "nats", "N x M: their log-probabilities"),
    field(
        "teacher_hidden",
        pa.large_binary(),
        "bfloat16",
        "N x H: the teacher's final hidden states, row by row (score.targets: hidden)",
        nullable=True,
    ),
    field(
        "idea_gain",
        FLOAT,
        "nats per token",
        "by how much the idea raises the teacher's mean log-probability of the correct peer; null "
        "where it was not measured (score.idea_check)",
        nullable=True,
    ),
    field(
        "support",
        STR,
        "student|teacher|union|full|none",
        "whose top-k ids the loss compares on; full: all ids; none: no targets",
    ),
    field(
        "status",
        STR,
        "enum",
        "scored | deferred (the teacher is run by distill) | no_teacher (context none) | "
        "too_long (teacher prompt and response exceed the model's context) | negative_lift "
        "(its own idea makes the error likelier, see score.row_lift) | no_divergence (policy "
        "divergence, but no token exceeds score.divergence_threshold) | idea_rejected "
        "(idea_gain is not above 0, see score.idea_check); the last four are not trained on",
    ),
    field(
        "teacher",
        STR,
        "hash",
        "fingerprint of the teacher's weights; null where there is no teacher",
        nullable=True,
    ),
)
