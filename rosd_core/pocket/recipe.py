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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rosd_core.pocket.encoding import Encoded, encode
from rosd_core.pocket.lessons import Conversation, Lesson, draw_conversations
from rosd_core.prompts.templates import Prompts

PAD, END = "<|endoftext|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IGNORE = -100


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
            for row in draw_conversations(seed, 10**6 + step, rows, prompts, lesson):
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


def _encode(rows: list[Conversation], tokenizer: PreTrainedTokenizerFast) -> list[Encoded]:
    return encode(rows, tokenizer, tokenizer.vocab[END])


def _batches(
    encoded: list[Encoded], parts: int, pad: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows sorted by length in `parts` right-padded batches: ids (B, T) and labels (B, T)."""
    order = sorted(encoded, key=_length)
    size = math.ceil(len(order) / parts)
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        longest = max(map(_length, chunk))
        ids_BT = torch.full((len(chunk), longest), pad)
        labels_BT = torch.full((len(chunk), longest), IGNORE)
        for b, (prompt, response, positions) in enumerate(chunk):
            ids_BT[b, : len(prompt) + len(response)] = torch.tensor(prompt + response)
            at = torch.tensor(positions) + len(prompt)
            labels_BT[b, at] = ids_BT[b, at]
        yield ids_BT, labels_BT


def _length(row: Encoded) -> int:
    return len(row.prompt) + len(row.response)


def _reply_loss(
    model: Qwen3ForCausalLM, ids_BT: torch.Tensor, labels_BT: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Summed cross-entropy of the replies and, per row, whether the greedy choice is right at every
    reply token.
    """
    hidden_BTH = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    next_BT = labels_BT[:, 1:]
    keep_BT = next_BT != IGNORE
    logits_NV = model.lm_head(hidden_BTH[:, :-1][keep_BT])
    next_N = next_BT[keep_BT]
    right_BT = torch.ones_like(keep_BT)
    right_BT[keep_BT] = logits_NV.detach().argmax(-1) == next_N
    return F.cross_entropy(logits_NV, next_N, reduction="sum"), right_BT.all(-1)


def greedy_exactness(
    model: Qwen3ForCausalLM, rows: list[Conversation], tokenizer: PreTrainedTokenizerFast
) -> dict[str, float]:
    """Share of rows per skill whose whole reply is the greedy continuation of its prompt."""
    hits: dict[str, list[bool]] = {}
    with torch.inference_mode():
        for row, encoded in zip(rows, _encode(rows, tokenizer), strict=True):
            _, right_B = _reply_loss(model, *next(_batches([encoded], 1, 0)))
            hits.setdefault(row.skill, []).append(bool(right_B[0]))
    return {kind: sum(h) / len(h) for kind, h in sorted(hits.items())}


@dataclass(frozen=True)
class Phase:
    """A phase of training: `params.yaml: bootstrap.phases`; the names are the same there. The rate
    falls along a cosine to `final_rate` x `learning_rate`.
    """

    steps: int
    learning_rate: float
    final_rate: float
    warmup: int

    def rate(self, step: int) -> float:
        fall = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        warm = min(1.0, (step + 1) / self.warmup)
        return self.learning_rate * warm * (self.final_rate + (1 - self.final_rate) * fall)


def train(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    draw: Callable[[int], list[Conversation]],
    held_out: list[Conversation],
    phase: Phase,
    first: int,
    weight_decay: float,
    parts: int,
) -> dict[str, float]:
    """Plain AdamW on the conversations of `draw(first)` to `draw(first + phase.steps - 1)`, each
    step in `parts` batches.

    Returns the greedy exactness on the held-out conversations, which also goes to stderr every 250
    steps.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=phase.learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay
    )
    started = time.monotonic()
    for step in range(phase.steps):
        for group in optimizer.param_groups:
            group["lr"] = phase.rate(step)
        loss = _step(model, optimizer, _encode(draw(first + step), tokenizer), parts, tokenizer)
        if (step + 1) % 250 == 0:
            exact = greedy_exactness(model, held_out, tokenizer)
            shares = ", ".join(f"{skill} {share:.2f}" for skill, share in exact.items())
            note = f"step {step + 1}, {time.monotonic() - started:.0f} s: loss {loss:.3f}; exact: "
            print(note + shares, file=sys.stderr, flush=True)
    return greedy_exactness(model, held_out, tokenizer)


def _step(
    model: Qwen3ForCausalLM,
    optimizer: torch.optim.Optimizer,
    encoded: list[Encoded],
    parts: int,
    tokenizer: PreTrainedTokenizerFast,
) -> float:
    """One optimizer step; its mean loss per token."""
    tokens = sum(len(row.positions) for row in encoded)
    total = 0.0
    for ids_BT, labels_BT in _batches(encoded, parts, tokenizer.vocab[PAD]):
        loss, _ = _reply_loss(model, ids_BT, labels_BT)
        (loss / tokens).backward()
        total += loss.item() / tokens
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total
