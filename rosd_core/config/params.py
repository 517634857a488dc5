"""`params.yaml`, validated: one frozen model per section, no default anywhere.

Read with ruamel (YAML 1.2, so that `1e-4` is a number). Every complaint names the key, what is
allowed and, for an unknown key, the nearest valid name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rosd_core.config.methods import METHODS
from rosd_core.errors import RosdError

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]
EngineName = Literal["transformers"]


class Section(BaseModel):
    """A part of params.yaml: frozen, and no key beyond those declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Machine(Section):
    threads: Positive
    device: Literal["cpu", "cuda"]


class Domain(Section):
    """How many rows a domain gives to each split."""

    train: Annotated[int, Field(ge=0)] | Literal["all"]
    test: Annotated[int, Field(ge=0)] | Literal["all"]


class PocketDomain(Domain):
    task: Literal["pocket"]
    domain: Literal["chain", "story", "formula", "dials", "largest"]
    train: Annotated[int, Field(ge=0)]
    test: Annotated[int, Field(ge=0)]
    steps: Annotated[list[Positive], Field(min_length=1)]


class FileDomain(Domain):
    task: Literal["sciknoweval", "tooluse", "gsm8k", "math"]
    train_file: str | None
    test_file: str | None


class TableDomain(Domain):
    task: Literal["table"]
    train_file: str | None
    test_file: str | None
    columns: dict[Literal["prompt", "answer", "solution", "system"], str]
    grader: str

    @model_validator(mode="after")
    def _has_prompt_and_answer(self) -> "TableDomain":
        if not {"prompt", "answer"} <= set(self.columns):
            raise ValueError("columns of a table domain must name prompt and answer")
        return self


class GymDomain(Domain):
    task: Literal["reasoning_gym"]
    generator: str
    config: dict[str, Any]
    train: Annotated[int, Field(ge=0)]
    test: Annotated[int, Field(ge=0)]


AnyDomain = Annotated[
    PocketDomain | FileDomain | TableDomain | GymDomain, Field(discriminator="task")
]


class Prepare(Section):
    seed: int
    domains: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], AnyDomain]

    def trained(self) -> list[str]:
        """Domains that give training problems."""
        return [name for name, domain in self.domains.items() if domain.train != 0]


class PromptTexts(Section):
    plain: str
    reflect_wrong: str
    reflect_correct: str
    with_idea: str
    with_solution: str
    enable_thinking: bool


class Phase(Section):
    steps: Positive
    learning_rate: Rate
    final_rate: Share
    warmup: Positive
    misconceptions: bool
    mix: dict[
        Literal[
            "drill",
            "solve",
            "reflect_wrong",
            "reflect_correct",
            "with_idea",
            "with_solution",
            "with_reference",
        ],
        Share,
    ]


class Shape(Section):
    hidden_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    num_key_value_heads: Positive
    head_dim: Positive
    intermediate_size: Positive
    max_position_embeddings: Positive


class Bootstrap(Section):
    seed: int
    threads: Positive
    vocab_size: Annotated[int, Field(ge=400)]
    model: Shape
    rows_per_step: Positive
    batches_per_step: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    slip_rate: Share
    imitation: Share
    forget: dict[Literal["carry", "borrow", "regroup"], Share]
    domains: dict[str, Share]
    phases: dict[str, Phase]


class Iteration(Section):
    start: str


class Sampling(Section):
    """What every sampling stage needs."""

    seed: int
    engine: EngineName
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_prompt_tokens: Positive
    max_new_tokens: Positive
    batch_rows: Positive


class Rollout(Sampling):
    problems: Positive | Literal["all"]
    group_size: Positive
    temperature: Annotated[float, Field(gt=0)]
    shard_problems: Positive


class Reflect(Sampling):
    enabled: bool
    peer: Literal["random", "shortest"]
    constrain: bool
    quote_chars: tuple[Positive, Positive]
    shard_rows: Positive

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "Reflect":
        low, high = self.quote_chars
        if low > high:
            raise ValueError(f"reflect.quote_chars: the lower bound {low} exceeds the upper {high}")
        return self


class Align(Section):
    teacher_context: Literal["idea", "peer", "reference", "none"]
    mask: Literal["quote", "all"]
    wrong: Literal["use", "skip"]
    correct: Literal["use", "skip"]
    all_success: Literal["use", "skip"]
    weight: Literal["one", "advantage"]
    quote_not_found: Literal["drop", "whole", "from_first_difference"]
    spans: Literal["first_to_end", "spans", "first_to_end_of_step"]
    fuzzy_threshold: Annotated[float, Field(ge=50)]


class Score(Section):
    teacher: Literal["base", "current", "ema", "trust_region"]
    ema_rate: Share
    trust_region_mix: Share
    targets: Literal["topk", "hidden", "none"]
    support: Literal["student", "teacher", "union", "full"]
    top_k: Positive
    max_prompt_tokens: Positive
    batch_tokens: Positive
    autocast: Literal["none", "bfloat16"]
    shard_rows: Positive

    @model_validator(mode="after")
    def _stored_support_is_of_k_ids(self) -> "Score":
        if self.support == "full" and self.targets == "topk":
            raise ValueError(
                "score.support: full needs score.targets hidden or none; topk stores K ids a token"
            )
        return self


class Lora(Section):
    rank: Positive
    alpha: Rate
    dropout: Share
    modules: str
    merge: bool


class Distill(Section):
    seed: int
    loss: Literal["divergence", "sampled_token", "cross_entropy", "policy_gradient"]
    policy_clip: Annotated[float, Field(gt=0, lt=1)]
    alpha: Share
    tail: Literal["bucket", "renormalised"]
    importance_clip: Annotated[float, Field(ge=1)]
    entry_clip: Rate | None
    learning_rate: Rate
    warmup_steps: Annotated[int, Field(ge=0)]
    betas: tuple[Share, Share]
    weight_decay: Annotated[float, Field(ge=0)]
    grad_clip: Rate
    shuffle: Literal["rows", "problems"]
    rows_per_step: Positive
    batch_tokens: Positive
    autocast: Literal["none", "bfloat16"]
    gradient_checkpointing: bool
    lora: Lora | None

    @property
    def new_adapter(self) -> dict[str, Any] | None:
        """How an adapter is made, if the iteration trains one."""
        return None if self.lora is None else self.lora.model_dump(exclude={"merge"})

    @property
    def merge(self) -> bool:
        """Whether the iteration writes whole weights although it trains an adapter."""
        return self.lora is not None and self.lora.merge


class Evaluate(Sampling):
    samples: Positive
    shard_rows: Positive
    confidence: Annotated[float, Field(gt=0, lt=1)]
    bootstrap_resamples: Annotated[int, Field(ge=100)]


class Compare(Section):
    methods: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[int], Field(min_length=1)]
    baseline: str

    @model_validator(mode="after")
    def _methods_are_known(self) -> "Compare":
        for name in self.methods:
            if name not in METHODS:
                raise ValueError(f"compare.methods: {name!r} is none of {', '.join(METHODS)}")
        if self.baseline not in self.methods:
            raise ValueError(f"compare.baseline: {self.baseline!r} is not among compare.methods")
        return self


class Report(Section):
    precision: Annotated[int, Field(ge=0, le=6)]


class Params(Section):
    """The whole of params.yaml."""

    machine: Machine
    prepare: Prepare
    prompts: PromptTexts
    bootstrap: Bootstrap
    loop: dict[str, Iteration]
    rollout: Rollout
    reflect: Reflect
    align: Align
    score: Score
    distill: Distill
    evaluate: Evaluate
    report: Report
    compare: Compare

    @model_validator(mode="before")
    @classmethod
    def _loop_keys_are_text(cls, data: Any) -> Any:
        loop = data.get("loop") if isinstance(data, Mapping) else None
        bad = [k for k in loop or {} if not isinstance(k, str)] if isinstance(loop, Mapping) else []
        if bad:
            raise ValueError(
                f"loop: the key {bad[0]!r} is not text; DVC would make no stage of it, "
                f"write i{bad[0]}"
            )
        return data

    @model_validator(mode="after")
    def _a_running_mean_needs_whole_weights(self) -> "Params":
        lora = self.distill.lora
        if self.score.teacher == "ema" and lora is not None and not lora.merge:
            raise ValueError("score.teacher: ema needs distill.lora null or its merge true")
        return self

    @model_validator(mode="after")
    def _each_iteration_starts_from_an_earlier_one(self) -> "Params":
        seen = ["base"]
        for key, item in self.loop.items():
            if key == "base" or not key.replace("-", "").replace("_", "").isalnum():
                raise ValueError(
                    f"loop: {key!r} cannot name an iteration; use letters and digits, not 'base'"
                )
            if item.start not in seen:
                raise ValueError(
                    f"loop.{key}.start: {item.start!r} is none of {', '.join(seen)} "
                    "(base or an earlier key)"
                )
            seen.append(key)
        if len(seen) == 1:
            raise ValueError("loop: no iteration; `rosd loop 3` writes three")
        return self


def _section_at(path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model whose field or unknown key `path` ends in."""
    if path[:2] == ("prepare", "domains"):
        kinds = (PocketDomain, FileDomain, TableDomain, GymDomain)
        named = {t: m for m in kinds for t in get_args(m.model_fields["task"].annotation)}
        return named.get(path[3]) if len(path) > 4 else None
    model: Any = Params
    for name in path[:-1]:
        field = (
            model.model_fields.get(name)
            if isinstance(model, type) and issubclass(model, BaseModel)
            else None
        )
        if field is None:
            return Iteration if path[0] == "loop" else None
        model = field.annotation
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _explain(error: Mapping[str, Any], file: Path) -> str:
    """One line for one complaint of pydantic."""
    path = tuple(p for p in error["loc"] if p != "[key]")
    shown = path[:3] + path[4:] if path[:2] == ("prepare", "domains") else path  # without the tag
    key = ".".join(map(str, shown))
    section = _section_at(path)
    if error["type"] == "extra_forbidden":
        valid = list(section.model_fields) if section else []
        from rapidfuzz import process  # only a wrong key pays for the import

        near = process.extractOne(str(path[-1]), valid)
        hint = f" Did you mean {near[0]!r}?" if near and near[1] >= 50 else ""
        return f"{file}: unknown key {key!r}.{hint} Allowed there: {', '.join(valid)}."
    if error["type"] == "missing":
        return f"{file}: the key {key!r} is missing."
    if error["type"] == "value_error":
        return f"{file}: {str(error['msg']).removeprefix('Value error, ')}."
    return f"{file}: {key} = {error['input']!r} is not allowed: {error['msg']}."


def load_params(file: Path) -> Params:
    """Read and validate a params file. Raises RosdError with one line per complaint."""
    try:
        data = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RosdError(
            f"{file}: no such file. Run from the project's folder, or name it with --params."
        ) from None
    except YAMLError as error:
        raise RosdError(
            f"{file}: not YAML: {str(error).splitlines()[-1].strip()}; {error}"
        ) from None
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise RosdError("\n".join(_explain(e, file) for e in error.errors())) from None
