"""`params.yaml`, validated: one frozen model per section, and no default anywhere."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rosd_core.config.domains import AnyDomain
from rosd_core.config.engines import Engine, EngineName, TeacherName
from rosd_core.config.methods import METHODS
from rosd_core.config.prompts import PromptTexts
from rosd_core.config.section import Positive, Rate, Section, Share


class Machine(Section):
    threads: Positive
    device: Literal["cpu", "cuda"]


class Prepare(Section):
    seed: int
    domains: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], AnyDomain]

    def trained(self) -> list[str]:
        """Domains with training problems."""
        return [name for name, domain in self.domains.items() if domain.train != 0]


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
    """The keys of every stage that samples."""

    seed: int
    engine: EngineName
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_prompt_tokens: Positive
    max_new_tokens: Positive
    batch_tokens: Positive


class Rollout(Sampling):
    problems: Positive | Literal["all"]
    group_size: Positive
    temperature: Annotated[float, Field(gt=0)]
    shard_problems: Positive


class Reflect(Sampling):
    enabled: bool
    peer: Literal["random", "shortest"]
    source: Literal["self", "file"]
    file: str | None
    model: str | None
    url: str | None
    contract: Literal["free", "constrained", "forced"]
    quote_chars: tuple[Positive, Positive]
    idea_chars: tuple[Positive, Positive]
    prefill: dict[Literal["wrong", "correct"], str]
    attempts: Positive
    retry_temperature: Annotated[float, Field(gt=0)]
    shard_rows: Positive

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "Reflect":
        for name in ("quote_chars", "idea_chars"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"reflect.{name}: the lower bound {low} exceeds the upper {high}")
        return self

    @model_validator(mode="after")
    def _answers_can_be_read(self) -> "Reflect":
        if set(self.prefill) != {"wrong", "correct"}:
            raise ValueError("reflect.prefill needs both keys, wrong and correct")
        if self.contract != "free" and any(self.prefill.values()):
            raise ValueError("reflect.prefill needs reflect.contract free; a grammar sets the rest")
        if self.source == "file" and self.file is None:
            raise ValueError("reflect.source file needs reflect.file, the name of your table")
        if self.url is not None and (self.engine != "server" or self.model is None):
            raise ValueError("reflect.url needs reflect.engine server and reflect.model")
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
    skip_thinking: bool
    skip_first: Annotated[int, Field(ge=0)]
    fuzzy_threshold: Annotated[float, Field(ge=50)]


class Score(Section):
    teacher: TeacherName
    ema_rate: Share
    trust_region_mix: Share
    targets: Literal["topk", "hidden", "none"]
    support: Literal["student", "teacher", "union", "full"]
    top_k: Positive
    max_prompt_tokens: Positive
    batch_tokens: Positive
    autocast: Literal["none", "bfloat16"]
    lift: Literal["stop", "warn", "off"]
    lift_confidence: Annotated[float, Field(gt=0, lt=1)]
    row_lift: Literal["keep", "drop"]
    teacher_samples: Annotated[int, Field(ge=0)]
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
    loss: Literal["divergence", "skew_kl", "sampled_token", "cross_entropy", "policy_gradient"]
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

    @model_validator(mode="after")
    def _a_skewed_kl_is_not_zero(self) -> "Distill":
        if self.loss == "skew_kl" and self.alpha == 1:
            raise ValueError("distill.loss skew_kl is 0 at distill.alpha 1; take one below 1")
        return self

    @property
    def new_adapter(self) -> dict[str, Any] | None:
        """The arguments of a new adapter, if the iteration trains one."""
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
    bootstrap: Bootstrap | None = None  # the built-in project alone has it
    loop: dict[str, Iteration]
    engine: Engine
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
