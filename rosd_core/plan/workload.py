"""What an iteration has to read, sample and learn from: how many rows, of how many tokens.

What an earlier iteration measured is used; else what params and problems say; else an assumption,
and every number says which of these it is.
"""

from dataclasses import dataclass
from statistics import fmean

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.plan.known import Known, Measured
from rosd_core.plan.lengths import PromptLengths, Ruler, measured, with_more
from rosd_core.plan.problems import Split
from rosd_core.prompts.templates import Prompts

HALF = "assumed: half of max_new_tokens"
IDEA = 2 / 3  # of a reflection's tokens, the rest are quote and tags
# what the teacher reads: its template, and how many responses and ideas stand in it
CONTEXTS = {
    "idea": ("with_idea", ("idea",), 0, 1),
    "peer": ("with_solution", ("solution",), 1, 0),
    "reference": ("with_solution", ("solution",), 1, 0),
    "feedback": ("with_feedback", ("attempt", "solution", "feedback"), 1, 0),
    "feedback_peer": ("with_feedback", ("attempt", "solution", "feedback"), 2, 0),
    "critique": ("with_critique", ("critique",), 1, 1),
    "plain": ("plain", (), 0, 0),
    "none": ("plain", (), 0, 0),
}


@dataclass(frozen=True)
class Workload:
    """Of one iteration. Counts are means over it; `wrong`, `reflected`, `supervised` are shares of
    the rollouts, `supervised_tokens` one of all response tokens.
    """

    problems: Known
    group: int
    prompt: PromptLengths
    response: Known
    wrong: Known
    reflected: Known
    question: PromptLengths  # what the reflector reads
    answer: Known  # and what it writes, in tokens
    supervised: Known
    supervised_tokens: Known
    teacher: PromptLengths
    tests: Known
    test_prompt: PromptLengths
    test_response: Known
    samples: int

    @property
    def rollouts(self) -> float:
        return self.problems.value * self.group

    def told(self) -> dict[str, Known]:
        """Every number by its name in what is printed."""
        return {
            "problems": self.problems,
            "tokens of a prompt": self.prompt.mean,
            "tokens of a response": self.response,
            "wrong responses": self.wrong,
            "rollouts reflected on": self.reflected,
            "tokens of a reflection": self.answer,
            "tokens of the reflector's prompt": self.question.mean,
            "rollouts supervised": self.supervised,
            "response tokens supervised": self.supervised_tokens,
            "tokens of the teacher's prompt": self.teacher.mean,
            "test problems": self.tests,
            "tokens of a test response": self.test_response,
        }


def workload(params: Params, splits: dict[str, Split], ruler: Ruler, found: Measured) -> Workload:
    """The workload of the params on these problems. Raises RosdError where there is none to train
    on.
    """
    r, e = params.rollout, params.evaluate
    train, test = splits["train"], splits["test"]
    problems = train.count
    if not problems.value:
        raise RosdError(
            "no problem to train on: no entry of prepare.domains has one in train. Set it, or add "
            "a preset with data, such as `--preset biology`."
        )
    if r.problems != "all" and r.problems <= problems.value:
        problems = Known(r.problems, "params: rollout.problems")
    half = Known(r.max_new_tokens / 2, HALF)
    response = found.number("rollout", ("response_tokens",), half)
    right = found.number("rollout", ("success_share",), Known(0.5, "assumed: half"))
    wrong = Known(1 - right.value, right.origin)
    plain = _prompts(params, "plain", params.prompts.thinking.student)
    prompt = measured(train.rows, plain.plain, (), ruler, r.max_prompt_tokens)
    reflected, answer = _reflections(params, found)
    supervised, tokens = _supervised(params, wrong, found)
    return Workload(
        problems=problems,
        group=r.group_size,
        prompt=prompt,
        response=response,
        wrong=wrong,
        reflected=reflected,
        question=_question(params, train, response, wrong, ruler),
        answer=answer,
        supervised=supervised,
        supervised_tokens=tokens,
        teacher=_teacher(params, train, (response.value, answer.value), ruler),
        tests=test.count,
        test_prompt=measured(test.rows, plain.plain, (), ruler, e.max_prompt_tokens),
        test_response=_test_response(e.max_new_tokens, found),
        samples=e.samples,
    )


def _prompts(params: Params, name: str, thinking: bool) -> Prompts:
    """One template with the examples that belong to it."""
    shown = "plain" if name.startswith("with_") else name
    examples = params.prompts.examples_for(shown)
    return Prompts(params.prompts.only(name, "plain"), thinking, examples)


def _reflections(params: Params, found: Measured) -> tuple[Known, Known]:
    """The share of rollouts that are reflected on by an engine here, and the tokens of an answer,
    all attempts together.
    """
    p = params.reflect
    answer = found.number("reflect", ("tokens", "reflections"), Known(p.max_new_tokens / 2, HALF))
    if not p.enabled or p.source == "file" or (p.engine == "server" and p.model is not None):
        return Known(0, "params: reflect"), answer
    every = Known(1, "assumed: all of them, every group has a success")
    return found.number("reflect", ("reflections", "rollouts"), every), answer


def _supervised(params: Params, wrong: Known, found: Measured) -> tuple[Known, Known]:
    """The shares of rollouts, and of response tokens, that are trained on."""
    p = params.align
    rows = (wrong.value if p.wrong == "use" else 0) + (1 - wrong.value) * (p.correct == "use")
    origin = "assumed: all that params: align allows"
    whole = p.mask == "all"
    tokens = rows - (0 if whole or p.wrong == "skip" else wrong.value / 2)
    guess = origin if whole else "assumed: wrong responses from their middle on"
    supervised = found.number("align", ("supervised", "rollouts"), Known(rows, origin))
    return supervised, found.number("align", ("supervised_token_share",), Known(tokens, guess))


def _question(
    params: Params, train: Split, response: Known, wrong: Known, ruler: Ruler
) -> PromptLengths:
    """What the reflector reads, over wrong and correct rollouts: two responses, or one."""
    most, sides = params.reflect.max_prompt_tokens, []
    for name, fields, count in (
        ("reflect_wrong", ("gold", "correct", "wrong"), 2),
        ("reflect_correct", ("gold", "correct"), 1),
    ):
        prompts = _prompts(params, name, params.prompts.thinking.reflector)
        empty = measured(train.rows, getattr(prompts, name), fields, ruler, most)
        sides.append(with_more(empty, count * response.value if train.rows else 0, most))
    of_wrong, of_correct = sides
    share = wrong.value

    def mean(a: float, b: float) -> float:
        return share * a + (1 - share) * b

    origin = f"{of_wrong.mean.origin}, with responses"
    return PromptLengths(
        Known(mean(of_wrong.value, of_correct.value), origin),
        max(of_wrong.longest, of_correct.longest),
        mean(of_wrong.shared, of_correct.shared),
        mean(of_wrong.of_problem, of_correct.of_problem),
    )


def _teacher(
    params: Params, train: Split, sizes: tuple[float, float], ruler: Ruler
) -> PromptLengths:
    """What the teacher reads; `sizes` are the tokens of a response and of a reflection."""
    context, most = params.align.teacher_context, params.score.max_prompt_tokens
    template, fields, responses, ideas = CONTEXTS[context]
    prompts = _prompts(params, template, params.prompts.thinking.teacher)
    empty = measured(train.rows, getattr(prompts, template), fields, ruler, most)
    more = responses * sizes[0] + ideas * IDEA * sizes[1]
    return with_more(empty, more if train.rows else 0, most)


def _test_response(most: int, found: Measured) -> Known:
    """The mean tokens of a test response over domains, of the newest evaluation."""
    domains, key = found.newest("evaluate", ["base"] if found.keys else [])
    sizes = [domain["response_tokens"] for domain in domains.values()]
    if not sizes:
        return found.number("rollout", ("response_tokens",), Known(most / 2, HALF))
    return Known(fmean(sizes), f"measured in {key}")
