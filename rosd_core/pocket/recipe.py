"""The pocket model: tokenizer, tiny Qwen3 and the training recipe that makes it a solver with
misconceptions.

The phases are `params.yaml: bootstrap.phases`. First everything is right: the model learns to copy,
then the arithmetic, and to reflect: to go through a wrong solution line by line, and to quote the
first that differs. Then the misconceptions come in: plain problems are solved with each rule
forgotten at its rate, while a problem with a corrective idea is solved with *that* rule never
forgotten. What the model says about itself with the idea is therefore better than what it does
without: the self-teacher of ROSD.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rosd_core.pocket.world import (
    ARITHMETIC,
    LARGEST_OPERAND,
    Problem,
    calculate,
    in_words,
    make_problem,
    praise,
    solve,
    wrong_solution,
)  # fmt: skip
from rosd_core.prompts.chat import chat_text
from rosd_core.prompts.templates import Prompts
from rosd_core.reflect.parse import format_reflection

PAD, END = "<|endoftext|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IGNORE = -100


@dataclass(frozen=True)
class Row:
    """One training conversation: `kind` names the skill. The loss falls on the reply; of a drill,
    on its results.
    """

    kind: str
    messages: list[dict[str, str]]
    reply: str


@dataclass(frozen=True)
class Lesson:
    """What the conversations of a phase are drawn from: shares of kinds and of domains of plain
    problems.

    `forget` holds the misconception rates of wrong solutions; plain solutions show them where
    `misconceptions` is set. `imitation` is the share of solutions beside a reference that are
    written in the reference's style.
    """

    mix: Mapping[Any, float]
    domains: Mapping[str, float]
    forget: Mapping[Any, float]
    slip_rate: float
    misconceptions: bool
    imitation: float


def build_tokenizer(texts: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which every number 0..99 is one token, words take their leading space, tags
    stay whole.
    """
    split = Regex(r"</?[a-z_]+>| ?[A-Za-z]+|\d{1,2}|[^A-Za-z\d]")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue] (untyped bindings)
        [
            pre_tokenizers.Split(split, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, "<|im_start|>", END],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def text_sample(
    seed: int, prompts: Prompts, lessons: Sequence[Lesson], steps: int = 60, rows: int = 64
) -> Iterator[str]:
    """Text to train the tokenizer on: conversations that the model is not trained on, and the words
    of the template.
    """
    for lesson in (lessons[0], lessons[-1]):
        for step in range(steps):
            for row in draw_rows(seed, 10**6 + step, rows, prompts, lesson):
                yield (
                    "".join(f"{m['role']}\n{m['content']}\n" for m in row.messages)
                    + "system\nassistant\n"
                )
                yield row.reply


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int, **shape: int) -> Qwen3ForCausalLM:
    """A randomly initialised Qwen3 of the given shape (`hidden_size`, `num_hidden_layers`, ...)."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=math.ceil(len(tokenizer) / 32) * 32,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        eos_token_id=tokenizer.vocab[END],
        pad_token_id=tokenizer.vocab[PAD],
        bos_token_id=None,
        **shape,  # pyright: ignore[reportArgumentType] (all shapes are integers)
    )
    return Qwen3ForCausalLM(config)


def _drill(rng: Random, count: int = 16) -> Row:
    """Bare calculations, in signs or in words: many facts in few tokens."""
    words = rng.random() < 0.5
    lines = []
    while len(lines) < count:
        op = rng.choices("+-*~", (40, 40, 8, 12))[0]
        a, b = (
            rng.randint(0, 99),
            rng.randint(2, 4) if op == "*" else rng.randint(1, LARGEST_OPERAND),
        )
        if op == "~" and a // 10 + b // 10 > 9:
            continue
        if 0 <= calculate(op, a, b) <= 99:
            line = f"{a}{op}{b}={calculate(op, a, b)}"
            lines.append(f"{in_words(line)}." if words else line)
    return Row("drill", [{"role": "user", "content": "Calculate."}], "\n".join(lines))


def make_row(kind: str, problem: Problem, prompts: Prompts, rng: Random, lesson: Lesson) -> Row:
    """One conversation of a kind; where the kind does not fit the problem, a plain solution
    instead.
    """
    if kind == "drill":
        return _drill(rng)
    program, rates = problem.program, lesson.forget if lesson.misconceptions else {}
    plain = prompts.plain(problem.prompt)
    if program is None or problem.domain not in ARITHMETIC:
        return Row("solve", plain, problem.solution)
    wrong = wrong_solution(program, rng, lesson.forget, lesson.slip_rate)
    idea, rules = praise(program)
    fields = {"problem": problem.prompt, "gold": problem.answer, "correct": problem.solution}
    if kind == "reflect_correct":
        return Row(kind, prompts.reflect_correct(**fields), format_reflection(None, idea))
    if kind == "reflect_wrong" and wrong:
        return Row(
            kind,
            prompts.reflect_wrong(**fields, wrong=wrong.text),
            format_reflection(wrong.quote, wrong.idea, wrong.check),
        )
    if kind == "with_solution":
        return Row(kind, prompts.with_solution(problem.prompt, problem.solution), problem.solution)
    if kind == "with_reference":
        reply = problem.reference if rng.random() < lesson.imitation else problem.solution
        return Row(kind, prompts.with_solution(problem.prompt, problem.reference), reply)
    if kind == "with_idea":
        if wrong and rng.random() < 0.7:
            idea, rules = wrong.idea, frozenset({wrong.rule} if wrong.rule else set())
        return Row(
            kind,
            prompts.with_idea(problem.prompt, idea),
            solve(program, rng, rates, frozenset(rules)),
        )
    return Row("solve", plain, solve(program, rng, rates))


def draw_rows(seed: int, step: int, count: int, prompts: Prompts, lesson: Lesson) -> list[Row]:
    """The `count` conversations of a training step: a pure function of (seed, step)."""
    rng = Random(f"{seed}/bootstrap/{step}")
    kinds = rng.choices(list(lesson.mix), list(lesson.mix.values()), k=count)
    places = rng.choices(list(lesson.domains), list(lesson.domains.values()), k=count)
    rows = []
    for n, (kind, domain) in enumerate(zip(kinds, places, strict=True)):
        where = domain if kind == "solve" else rng.choice(ARITHMETIC)
        problem = make_problem(seed, where, "bootstrap", step * count + n)
        rows.append(make_row(kind, problem, prompts, rng, lesson))
    return rows


@dataclass(frozen=True)
class Encoded:
    """Token ids of a conversation, end token included, and labels: IGNORE where no loss falls."""

    ids: list[int]
    labels: list[int]


def encode_rows(rows: list[Row], tokenizer: PreTrainedTokenizerFast) -> list[Encoded]:
    """Ids and labels of each conversation."""
    heads = [chat_text(tokenizer, row.messages) for row in rows]
    texts = [head + row.reply + END for head, row in zip(heads, rows, strict=True)]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    head_ids = tokenizer(heads, add_special_tokens=False)["input_ids"]
    signs = tokenizer.vocab["="], tokenizer.vocab["\u0120is"], tokenizer.vocab["\u0120"]
    encoded = []
    for row, all_ids, head in zip(rows, ids, head_ids, strict=True):
        labels = [IGNORE] * len(head) + all_ids[len(head) :]
        if row.kind == "drill":
            labels = [IGNORE] * len(all_ids)
            for t, i in enumerate(all_ids[2:], 2):
                if all_ids[t - 1] == signs[0] or tuple(all_ids[t - 2 : t]) == signs[1:]:
                    labels[t] = i
        encoded.append(Encoded(all_ids, labels))
    return encoded


def _batches(
    encoded: list[Encoded], parts: int, pad: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows sorted by length in `parts` right-padded batches: ids (B, T) and labels (B, T)."""
    order = sorted(encoded, key=lambda e: len(e.ids))
    size = math.ceil(len(order) / parts)
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        longest = max(len(e.ids) for e in chunk)
        ids_BT = torch.tensor([e.ids + [pad] * (longest - len(e.ids)) for e in chunk])
        labels_BT = torch.tensor([e.labels + [IGNORE] * (longest - len(e.ids)) for e in chunk])
        yield ids_BT, labels_BT


def _reply_loss(
    model: Qwen3ForCausalLM, ids_BT: torch.Tensor, labels_BT: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Summed cross-entropy of the replies and, per row, whether the greedy choice is right at every
    reply token.
    """
    hidden_BTH = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    targets_BT = labels_BT[:, 1:]
    keep_BT = targets_BT != IGNORE
    logits_NV = model.lm_head(hidden_BTH[:, :-1][keep_BT])
    targets_N = targets_BT[keep_BT]
    right_BT = torch.ones_like(keep_BT)
    right_BT[keep_BT] = logits_NV.detach().argmax(-1) == targets_N
    return F.cross_entropy(logits_NV, targets_N, reduction="sum"), right_BT.all(-1)


def greedy_exactness(
    model: Qwen3ForCausalLM, rows: list[Row], tokenizer: PreTrainedTokenizerFast
) -> dict[str, float]:
    """Share of rows per kind whose whole reply is the greedy continuation of its prompt."""
    hits: dict[str, list[bool]] = {}
    with torch.inference_mode():
        for row, encoded in zip(rows, encode_rows(rows, tokenizer), strict=True):
            _, right_B = _reply_loss(model, *next(_batches([encoded], 1, 0)))
            hits.setdefault(row.kind, []).append(bool(right_B[0]))
    return {kind: sum(h) / len(h) for kind, h in sorted(hits.items())}


def train(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    draw: Callable[[int], list[Row]],
    held_out: list[Row],
    *,
    first: int,
    steps: int,
    learning_rate: float,
    final_rate: float,
    warmup: int,
    weight_decay: float,
    parts: int,
) -> dict[str, float]:
    """Plain AdamW on the rows of `draw(first)`.. `draw(first + steps - 1)`.

    The rate falls along a cosine to `final_rate` x the given one. Returns the greedy exactness on
    the held-out rows, which is also told on stderr every 250 steps.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay
    )
    pad, started = tokenizer.vocab[PAD], time.monotonic()
    for step in range(steps):
        fall = 0.5 * (1 + math.cos(math.pi * step / steps))
        warm = min(1.0, (step + 1) / warmup)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * warm * (final_rate + (1 - final_rate) * fall)
        encoded = encode_rows(draw(first + step), tokenizer)
        tokens = sum(label != IGNORE for e in encoded for label in e.labels)
        total = 0.0
        for ids_BT, labels_BT in _batches(encoded, parts, pad):
            loss, _ = _reply_loss(model, ids_BT, labels_BT)
            (loss / tokens).backward()
            total += loss.item() / tokens
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 250 == 0:
            exact = greedy_exactness(model, held_out, tokenizer)
            told = ", ".join(f"{kind} {share:.2f}" for kind, share in exact.items())
            note = f"step {step + 1}, {time.monotonic() - started:.0f} s: loss {total:.3f}; exact: "
            print(note + told, file=sys.stderr, flush=True)
    return greedy_exactness(model, held_out, tokenizer)
