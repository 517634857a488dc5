"""The values of a new params.yaml, each with the reason for it.

The rules are plain arithmetic on measured facts: what the data needs, what the model's context
holds, what the memory allows. Nothing is trained or sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rosd_core.errors import RosdError
from rosd_core.project.facts import Lengths, ModelFacts, share_at_most

GROUP = 8  # rollouts per problem, as published
STEPS = 8  # optimizer steps per iteration: enough to see a learning curve
SMALL = 3_000_000_000  # parameters: smaller models seldom follow the reflection format unforced
NOISY = 1_000_000_000  # parameters: smaller models need lower temperatures and examples
LEAST_ROWS, MOST_ROWS = 8, 256  # rows per optimizer step; 256 is published
SHORT, LONG = (2, "a CPU has no time for more"), (4, "per problem")  # evaluate.samples
WARMUP = 10
FIRST = "the first steps of AdamW move every weight by the whole rate, whatever the gradient"
SAMPLING = ("rollout", "reflect", "evaluate")  # the stages that sample
SHOTS = 3  # solved examples; prompts share them, so that they are read once
MOST_DECODED = 32768  # tokens in the cache of a batch: more does not make a CPU faster
NEEDS = "Use a model with a longer context, or shorter data."


@dataclass(frozen=True)
class Choice:
    """A value of params.yaml: `key` is section.key."""

    key: str
    value: Any
    why: str


def values_of(choices: Sequence[Choice]) -> dict[str, Any]:
    """The chosen values by key."""
    return {choice.key: choice.value for choice in choices}


def up(value: float, step: int) -> int:
    """`value` rounded up to a multiple of `step`."""
    return int(-(-value // step) * step)


def power_of_two(value: float) -> int:
    """The largest power of two that is at most `value`, at least 1."""
    return 1 << max(0, int(value).bit_length() - 1)


def length_choices(
    lengths: Lengths, model: ModelFacts, device: str, max_new_tokens: int | None
) -> list[Choice]:
    """Prompt and response lengths of every stage. Raises RosdError where the model's context is too
    short for the data.
    """
    longest = max(lengths.prompts)
    prompt = up(longest, 32)
    why_prompt = f"the longest prompt has {longest} tokens"
    new, why_new = _new_tokens(lengths, device, max_new_tokens)
    answer = 160 if device == "cpu" else 512
    reflection = up(prompt + 2 * new + lengths.reflection, 32)
    teacher = up(prompt + max(answer, new) + lengths.idea, 32)
    needed = max(prompt + new, reflection + answer, teacher + new)
    if needed > model.context:
        raise RosdError(
            f"the model has a context of {model.context} tokens, but the reflector's prompt "
            f"({reflection}) and answer ({answer}) or the teacher's prompt ({teacher}) and a "
            f"response ({new}) need {needed}. {NEEDS} --shots 0 and --max-new-tokens N make them "
            "shorter."
        )
    return [
        Choice("rollout.max_prompt_tokens", prompt, why_prompt),
        Choice("rollout.max_new_tokens", new, why_new),
        Choice("reflect.max_prompt_tokens", reflection, "a problem, two responses and the request"),
        Choice("reflect.max_new_tokens", answer, "a quote and an idea of one or two sentences"),
        Choice("score.max_prompt_tokens", teacher, "a problem with an idea, or with a response"),
        Choice("evaluate.max_prompt_tokens", prompt, "as in rollout"),
        Choice("evaluate.max_new_tokens", new, "as in rollout"),
        Choice("evaluate.samples", *(SHORT if device == "cpu" else LONG)),
    ]


def _new_tokens(lengths: Lengths, device: str, wanted: int | None) -> tuple[int, str]:
    """The most tokens of a response."""
    if wanted is not None:
        return wanted, "your choice"
    most = 256 if device == "cpu" else 4096
    if lengths.solutions is None:
        return most, f"the data has no solutions to measure; {most} is what we allow on {device}"
    typical = share_at_most(lengths.solutions, 0.95)
    tokens = min(most, up(2 * typical, 16))
    return (
        tokens,
        f"95 % of the solutions have at most {typical} tokens; twice that, at most {most}",
    )


def batch_choices(lengths: Sequence[Choice], model: ModelFacts, memory: int) -> list[Choice]:
    """Tokens per batch, by memory. A batch always holds the longest row."""
    value = values_of(lengths)
    gib = f"{memory / 2**30:.1f} GiB are free"
    decoding = power_of_two(0.25 * memory / model.cache_bytes)
    cache = (
        f"{gib}, at most a quarter for keys and values of {model.cache_bytes / 1024:.0f} KiB a "
        f"token; at most {MOST_DECODED}"
    )
    left = memory - model.training_bytes
    row = max(value["score.max_prompt_tokens"], value["rollout.max_prompt_tokens"])
    row += value["rollout.max_new_tokens"]
    training = max(row, min(16384, power_of_two(max(1, 0.5 * left / model.activation_bytes))))
    training_why = (
        f"{gib}, {model.training_bytes / 2**30:.1f} GiB for weights and AdamW, half of the rest "
        f"for activations of about {model.activation_bytes / 2**20:.1f} MiB a token; at least a row"
    )
    decoding = max(row, min(MOST_DECODED, decoding))
    return [
        *(Choice(f"{stage}.batch_tokens", decoding, cache) for stage in SAMPLING),
        Choice("score.batch_tokens", training, training_why),
        Choice("distill.batch_tokens", training, "as in score"),
    ]


def machine_choices(device: str, threads: int) -> list[Choice]:
    """Where the stages run; `threads` is the number of cores with nothing else to do."""
    why = "idle cores now; more threads than that are slower than one"
    return [
        Choice("machine.device", device, "a GPU is there" if device == "cuda" else "no GPU"),
        Choice("machine.threads", threads, why),
    ]


def sampling_choices(model: ModelFacts) -> list[Choice]:
    """The temperature of rollouts."""
    if model.parameters >= NOISY:
        return [Choice("rollout.temperature", 1.0, "as published")]
    why = "models below 1 B parameters write much noise at 1; importance weights correct for it"
    return [Choice("rollout.temperature", 0.7, why)]


def shot_count(wanted: int | None, model: ModelFacts, solved: bool) -> tuple[int, str]:
    """How many solved examples the prompts show, and why."""
    if wanted is not None:
        return wanted, "your choice"
    if model.parameters >= NOISY:
        return 0, "models of this size follow the request"
    shown = "" if solved else "; the data has no solutions, so they show the answer alone"
    return SHOTS, f"models below 1 B parameters need to see the form of an answer{shown}"


def split_sizes(rows: int, has_test: bool, device: str) -> int:
    """The most problems to evaluate on: of a file of their own, or a fifth of the training file."""
    most = 64 if device == "cpu" else 256
    return most if has_test else max(1, min(most, rows // 5))


def test_choice(
    key: str, problems: int, lengths: Sequence[Choice], model: ModelFacts, time: tuple[float, float]
) -> Choice:
    """How many of the test problems are evaluated on, so that a model takes at most about half of
    the minutes of an iteration; at least 8. `time` is the speed and these minutes.
    """
    value, (speed, minutes) = values_of(lengths), time
    responses = value["evaluate.samples"] * value["evaluate.max_new_tokens"] / 2
    cost = 2 * model.parameters * (value["evaluate.max_prompt_tokens"] + responses)
    affordable = max(8, int(minutes / 2 * 60 * speed / cost))
    tested = min(problems, affordable)
    took = tested * cost / speed / 60
    return Choice(key, tested, f"of {problems}; about {took:.0f} minutes for each model")


def rollout_tokens(lengths: Sequence[Choice]) -> float:
    """Tokens that models read or write for one rollout of an iteration: a forward pass in rollout,
    reflect and (student and teacher) score, three in distill. Responses are taken to be half as
    long as they may be; four rollouts share the reading of their prompt in rollout and distill.
    """
    value = values_of(lengths)
    prompt, new = value["rollout.max_prompt_tokens"], value["rollout.max_new_tokens"] / 2
    reflection = value["reflect.max_prompt_tokens"] + value["reflect.max_new_tokens"]
    score = prompt + new + value["score.max_prompt_tokens"] + new
    return 4 * (prompt / 4 + new) + reflection + score


def step_choices(
    problems: int, lengths: Sequence[Choice], model: ModelFacts, speed: float, minutes: float
) -> list[Choice]:
    """How many problems an iteration samples, so that it takes at most about `minutes` at `speed`
    (floating-point operations a second), and the optimizer steps that it makes of them.
    """
    cost = 2 * model.parameters * rollout_tokens(lengths)
    affordable = int(minutes * 60 * speed / cost)
    group = GROUP if affordable >= GROUP * GROUP else GROUP // 2
    sampled = max(group, min(problems, affordable // group))
    rows = sampled * group
    per_step = min(MOST_ROWS, max(LEAST_ROWS, power_of_two(rows / STEPS)))
    steps = -(-rows // per_step)
    rate = min(2e-5, max(1e-5, 1e-5 * (4e9 / model.parameters) ** 0.5))
    took = rows * cost / speed / 60
    return [
        Choice(
            "rollout.problems",
            sampled,
            f"of {problems} to train on, at least {group}; {rows} rollouts take about "
            f"{took:.0f} minutes at the {speed / 1e9:.0f} GFLOP/s measured (--minutes {minutes:g})",
        ),
        Choice(
            "rollout.group_size", group, f"{GROUP} is published, {GROUP // 2} where time is short"
        ),
        Choice("rollout.shard_problems", min(sampled, 16), "written as often as that"),
        Choice("distill.shuffle", "problems", "the rows of a problem share its prompt"),
        Choice("distill.rows_per_step", per_step, f"up to {rows} rows, about {steps} steps"),
        Choice(
            "distill.warmup_steps", WARMUP, "as published, however few steps there are: " + FIRST
        ),
        Choice(
            "distill.learning_rate",
            float(f"{rate:.1e}"),
            f"1e-5 is published for 4 B parameters; this model has {model.parameters / 1e6:.0f} M: "
            "more by the root of the ratio, at most 2e-5",
        ),
    ]


def teacher_choices(problems: int) -> list[Choice]:
    """How score looks at the teacher before anything is trained."""
    why = "the teacher answers so many prompts; score stops where it is worse than the student"
    return [Choice("score.teacher_samples", min(4 * problems, 32), why)]


def reflection_choices(model: ModelFacts) -> list[Choice]:
    """How strictly the reflector is held to its format."""
    if model.parameters >= SMALL:
        return [
            Choice("reflect.contract", "free", "models of this size follow the request"),
            Choice("reflect.attempts", 2, "what cannot be read is asked for once more"),
        ]
    return [
        Choice(
            "reflect.contract",
            "forced",
            "models below 3 B parameters seldom write the tags by themselves",
        ),
        Choice("reflect.quote_chars", [4, 100], "a line or two, so that the answer is not cut off"),
        Choice("reflect.idea_chars", [16, 200], "a sentence or two: small models do not stop"),
        Choice("reflect.attempts", 1, "a forced answer can be read, unless it is cut off"),
    ]
