"""What each stage of an iteration does: tokens and cost, from its workload."""

from dataclasses import dataclass, replace
from math import ceil

from rosd_core.config.params import Params, Sampling
from rosd_core.plan import cost
from rosd_core.plan.case import Case
from rosd_core.plan.cost import Cost, forward
from rosd_core.plan.lengths import PromptLengths
from rosd_core.plan.model_shape import ModelShape
from rosd_core.plan.workload import Workload

PACK_TOKENS = 4096  # as in sampling/prefill.py
PADDED = 1.1  # steps of rows that have ended and are not dropped yet
LONGEST = 1.5  # the longest response of a batch, in mean ones
SEQUENCES = 256  # rows that vLLM decodes together


@dataclass(frozen=True)
class StageWork:
    """Tokens that a stage reads (prompts, and responses in forward passes), samples, and learns
    from or scores; its cost on one process; bytes a number of its matrix products.
    """

    stage: str
    read: float
    sampled: float
    supervised: float
    cost: Cost
    width: int = 4


@dataclass(frozen=True)
class Draw:
    """Responses to be sampled: `rows` of them to `unique` prompts, in shards of `shard` rows."""

    rows: float
    unique: float
    prompt: PromptLengths
    response: float
    shard: float
    settings: Sampling
    grammar: bool = False

    @property
    def batch(self) -> float:
        """Rows that are decoded together."""
        if self.settings.engine != "transformers":
            return max(1.0, min(self.shard, SEQUENCES))
        slots = self.prompt.longest + self.settings.max_new_tokens
        return max(1.0, min(self.rows, self.shard, self.settings.batch_tokens // slots))


def read_once(unique: float, prompt: PromptLengths, per_problem: float = 1.0) -> float:
    """Tokens of `unique` prompts that are read: what all have in common once a pack or, where that
    saves more, what those of a problem have in common once for all `per_problem` of them.
    """
    own = unique * (prompt.value - prompt.shared)
    packs = ceil(own / max(1.0, PACK_TOKENS - prompt.shared))
    by_problem = unique * (prompt.value - prompt.of_problem)
    by_problem += unique / per_problem * prompt.of_problem
    return min(own + packs * prompt.shared, by_problem)


def sampled(shape: ModelShape, draw: Draw, width: int, per_problem: float = 1.0) -> StageWork:
    """Reading the prompts and sampling the responses."""
    read = read_once(draw.unique, draw.prompt, per_problem)
    packs = max(1, ceil(read / PACK_TOKENS), ceil(draw.rows / draw.shard))
    reading = forward(shape, read, draw.prompt.value / 2, packs, width)
    tokens = draw.rows * draw.response
    context = draw.prompt.value + draw.response / 2
    if draw.settings.engine == "transformers":
        steps = min(draw.settings.max_new_tokens, LONGEST * draw.response)
        passes, decoded = ceil(draw.rows / draw.batch) * steps, PADDED * tokens
        writing = forward(shape, decoded, context, passes, width)
    else:  # rows come and go one by one, and graphs make a call of a step
        passes, decoded = tokens / draw.batch, tokens
        writing = replace(forward(shape, decoded, context, passes, width), calls=passes)
    grammar = cost.GRAMMAR * tokens if draw.grammar else 0.0
    more = Cost(
        flops=shape.logits(decoded),
        read=passes * shape.head * width + decoded * context * shape.cache_bytes(width),
        moved=4 * cost.VOCABULARY_PASSES * shape.vocabulary * decoded,
        host=cost.TOKEN * tokens + cost.ROW * draw.rows + grammar,
    )
    opened = Cost(host=cost.OPENED * 4 * shape.parameters)
    return StageWork("", read, tokens, 0, reading + writing + more + opened, width)


def sampling_width(params: Params, settings: Sampling) -> int:
    """Bytes a number of the engine's matrix products; a server is taken to be vLLM in bf16."""
    if settings.engine == "transformers":
        return 2 if settings.autocast == "bfloat16" else 4
    dtype = params.engine.vllm.dtype
    return 4 if settings.engine == "vllm" and dtype == "float32" else 2


def draws(params: Params, load: Workload) -> dict[str, Draw]:
    """What rollout, reflect and evaluate sample."""
    r, f, e = params.rollout, params.reflect, params.evaluate
    asked = load.rollouts * load.reflected.value
    tests = load.tests.value * load.samples
    return {
        "rollout": Draw(
            load.rollouts, load.problems.value, load.prompt, load.response.value,
            min(r.shard_problems, load.problems.value) * load.group, r,
        ),
        "reflect": Draw(
            asked, asked, load.question, load.answer.value, min(f.shard_rows, max(1.0, asked)), f,
            f.contract == "forced",
        ),
        "evaluate": Draw(
            tests, load.tests.value, load.test_prompt, load.test_response.value,
            min(e.shard_rows, max(1.0, tests)), e,
        ),
    }  # fmt: skip


def stage_work(case: Case, first: bool) -> list[StageWork]:
    """Every stage of an iteration in its order; `first`: it starts from the base model."""
    shape, params, load = case.shape, case.params, case.load
    found = draws(params, load)
    works = {}
    for stage, draw in found.items():
        settings: Sampling = getattr(params, stage)
        width = sampling_width(params, settings)
        per_problem = load.group * load.reflected.value if stage == "reflect" else 1.0
        works[stage] = sampled(shape, draw, width, max(1.0, per_problem))
    if params.rollout.file is not None:
        works["rollout"] = given(shape, load)
    if not found["reflect"].rows:
        works["reflect"] = StageWork("", 0, 0, 0, Cost(host=cost.ROW * load.rollouts))
    works["align"] = StageWork("", 0, 0, 0, align_cost(load))
    works["score"] = score(case, first)
    works["distill"] = distill(case)
    order = ("rollout", "reflect", "align", "score", "distill", "evaluate")
    return [replace(works[stage], stage=stage) for stage in order]


def given(shape: ModelShape, load: Workload) -> StageWork:
    """rollout.file: the student only reads the responses."""
    tokens = load.problems.value * load.prompt.value + load.rollouts * load.response.value
    read = forward(shape, tokens, load.prompt.value, max(1, ceil(tokens / PACK_TOKENS)))
    more = Cost(
        flops=shape.logits(load.rollouts * load.response.value), host=cost.ROW * load.rollouts
    )
    return StageWork("", tokens, 0, 0, read + more)


def align_cost(load: Workload) -> Cost:
    """Text alone; no model is run."""
    tokens = load.rollouts * load.response.value
    return Cost(host=cost.ROW * load.rollouts + cost.TOKEN * tokens)


def supervised(load: Workload) -> tuple[float, float]:
    """Rows and tokens that are trained on."""
    rows = load.rollouts * load.supervised.value
    return rows, load.rollouts * load.response.value * load.supervised_tokens.value


def rows_of_problem(load: Workload) -> float:
    """Supervised rows of a problem that has some: groups without a success are skipped whole."""
    asked = load.reflected.value or 1.0
    return max(1.0, load.group * min(1.0, load.supervised.value / asked))


def score(case: Case, first: bool) -> StageWork:
    """Student and teacher read the supervised responses, and are compared at their tokens."""
    shape, params, load = case.shape, case.params, case.load
    p = params.score
    rows, tokens = supervised(load)
    if p.targets == "none" or params.align.teacher_context == "none":
        return StageWork("", 0, 0, 0, Cost(host=cost.ROW * rows))
    width = 2 if p.autocast == "bfloat16" else 4
    response, prompt, teacher = load.response.value, load.prompt.value, load.teacher.value
    shared = params.align.teacher_context in ("reference", "plain")
    problems = rows / rows_of_problem(load)
    prompts = problems if shared else rows
    models = (1 if p.contrast == 0 else 3) * (2 if p.teacher == "trust_region" else 1)
    by_student = problems * prompt + rows * response
    by_teacher = models * (prompts * teacher + rows * response)
    if p.idea_check == "drop":
        by_teacher += rows * load.wrong.value * (teacher + response)
        by_teacher += problems * (prompt + response)
    checked = min(params.engine.parity.rows, load.rollouts)
    if params.guards.score.base_kl is not None and not first:
        checked += min(32, load.rollouts)
    extra = checked * (prompt + response)
    read = by_student + by_teacher + extra
    passes = 2 * ceil(max(by_student, by_teacher) / p.batch_tokens) + checked
    total = forward(shape, read, (prompt + teacher) / 2 + response / 2, passes, width) + Cost(
        flops=shape.logits(2 * tokens + checked * response),
        moved=4 * cost.COMPARED_PASSES * shape.vocabulary * tokens,
        host=cost.SCORED * tokens + cost.OPENED * 4 * shape.parameters * 2,
    )
    answered = StageWork("", 0, 0, 0, Cost())
    if asked := min(p.teacher_samples, rows):
        draw = Draw(asked, asked, load.teacher, response, asked, params.rollout)
        answered = sampled(shape, draw, 4)
    return StageWork(
        "", read + answered.read, answered.sampled, tokens, total + answered.cost, width
    )


def prompts_of_step(params: Params, load: Workload) -> float:
    """Different prompts among the rows of an optimizer step: drawn from a shard of P problems, n
    rows are of P (1 - (1 - 1 / P)^n) on average; kept together, of n / group.
    """
    rows, _ = supervised(load)
    n = min(params.distill.rows_per_step, rows)
    per_problem = rows_of_problem(load)
    shard = max(1.0, min(params.score.shard_rows, rows) / per_problem)
    if params.distill.shuffle == "problems":
        return min(shard, n / per_problem + 0.5)
    return shard * (1 - (1 - 1 / shard) ** n) if shard > 1 else 1.0


def distill(case: Case) -> StageWork:
    """One pass over the supervised rows, and a forward pass over those of the last step."""
    shape, params, load, training = case.shape, case.params, case.load, case.training
    p, (rows, tokens) = params.distill, supervised(load)
    if not rows:
        return StageWork("", 0, 0, 0, Cost())
    steps, response = ceil(rows / p.rows_per_step), load.response.value
    width = 2 if p.autocast == "bfloat16" else 4
    read = steps * prompts_of_step(params, load) * load.prompt.value + rows * response
    passes = max(steps, ceil(read / p.batch_tokens))
    context, whole = load.prompt.value / 2 + response / 2, p.lora is None
    total = cost.training(shape, read, context, passes, p.gradient_checkpointing, whole)
    total += Cost(
        flops=shape.logits((3 if whole else 2) * tokens),
        read=passes * 3 * shape.head * width,
        moved=4 * cost.TRAINED_VOCABULARY_PASSES * shape.vocabulary * tokens
        + 4 * cost.ADAMW_PASSES * training.trained * steps
        + (6 * shape.parameters * passes if width == 2 else 0),
        host=(cost.OPENED + cost.SAVED) * 4 * shape.parameters + cost.SAVED * 8 * training.trained,
    )
    if p.save_every is not None:
        total += Cost(host=cost.SAVED * 12 * training.trained * (steps // p.save_every))
    last = forward(shape, read / steps, context, passes / steps) + Cost(
        flops=shape.logits(tokens / steps)
    )
    if params.score.targets == "none" and params.align.teacher_context != "none":
        seen = rows * (load.teacher.value + response)
        total += forward(shape, seen, context, passes) + Cost(flops=shape.logits(tokens))
    return StageWork("", read, 0, tokens, total + last, width)
