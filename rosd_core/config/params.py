"""`params.yaml`, validated: one frozen model per section, and no default anywhere."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rosd_core.config.bootstrap import Bootstrap
from rosd_core.config.domains import AnyDomain
from rosd_core.config.engines import Engine, EngineName
from rosd_core.config.finetune import Finetune
from rosd_core.config.guards import Guards
from rosd_core.config.prompts import PromptTexts
from rosd_core.config.section import MOST, NotNegative, Positive, Rate, Section, Seed
from rosd_core.config.track import Track
from rosd_core.config.training import Align, Distill, Score


class Machine(Section):
    threads: Positive
    device: Literal["cpu", "cuda"]


class Prepare(Section):
    seed: Seed
    domains: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], AnyDomain]

    def trained(self) -> list[str]:
        """Domains with training problems."""
        return [name for name, domain in self.domains.items() if domain.train != 0]


class Iteration(Section):
    start: str


class Sampling(Section):
    """The keys of every stage that samples."""

    seed: Seed
    engine: EngineName
    temperature: NotNegative
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_prompt_tokens: Positive
    max_new_tokens: Positive
    batch_tokens: Positive
    autocast: Literal["none", "bfloat16"] = "none"


class Rollout(Sampling):
    problems: Positive | Literal["all"]
    group_size: Positive
    temperature: Rate
    file: str | None
    shard_problems: Positive


class Reflect(Sampling):
    enabled: bool
    peer: Literal["random", "shortest"]
    no_success: Literal["skip", "reference"]
    source: Literal["self", "file"]
    file: str | None
    model: str | None
    url: str | None
    contract: Literal["free", "constrained", "forced"]
    quote_chars: tuple[Positive, Positive]
    idea_chars: tuple[Positive, Positive]
    prefill: dict[Literal["wrong", "correct"], str]
    attempts: Positive
    retry_temperature: Rate
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


class Evaluate(Sampling):
    samples: Positive
    shard_rows: Positive
    confidence: Annotated[float, Field(gt=0, lt=1)]
    bootstrap_resamples: Annotated[int, Field(ge=100, le=MOST)]


class Report(Section):
    precision: Annotated[int, Field(ge=0, le=6)]
    page_mb: Rate


class Params(Section):
    """The whole of params.yaml."""

    machine: Machine
    prepare: Prepare
    prompts: PromptTexts
    bootstrap: Bootstrap | None = None  # the built-in project alone has it
    finetune: Finetune | None = (
        None  # for `rosd bootstrap --from`; projects of `rosd init` have none
    )
    loop: dict[str, Iteration]
    guards: Guards
    engine: Engine
    rollout: Rollout
    reflect: Reflect
    align: Align
    score: Score
    distill: Distill
    evaluate: Evaluate
    report: Report
    track: Track | None = None  # of `rosd track` alone; without it nothing is tracked

    @property
    def forks(self) -> bool:
        """Whether `rosd repro` runs stages in children of a process that has imported what they
        need. Those with a GPU, vLLM or Ray start afresh: these keep threads and devices of their
        own.
        """
        engines = {s.engine for s in (self.rollout, self.reflect, self.evaluate)}
        return self.machine.device == "cpu" and self.engine.workers == 1 and "vllm" not in engines

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
    def _other_engines_have_a_dtype(self) -> "Params":
        stages = {"rollout": self.rollout, "reflect": self.reflect, "evaluate": self.evaluate}
        for name, stage in stages.items():
            if stage.autocast != "none" and stage.engine != "transformers":
                raise ValueError(
                    f"{name}.autocast {stage.autocast} is of the engine transformers; "
                    f"{stage.engine} has a dtype of its own: set {name}.autocast none"
                )
        return self

    @model_validator(mode="after")
    def _a_running_mean_needs_whole_weights(self) -> "Params":
        lora = self.distill.lora
        if self.score.teacher == "ema" and lora is not None and not lora.merge:
            raise ValueError("score.teacher: ema needs distill.lora null or its merge true")
        return self

    @model_validator(mode="after")
    def _token_weights_need_columns(self) -> "Params":
        name, targets = self.distill.token_weight, self.score.targets
        unscored = targets == "none" or self.align.teacher_context == "none"
        if name not in ("one", "decay") and unscored:
            raise ValueError(
                f"distill.token_weight {name} reads columns of scores.parquet that are empty with "
                "score.targets none, and with align.teacher_context none; change one of the three"
            )
        return self

    @model_validator(mode="after")
    def _a_contrast_needs_demonstrations(self) -> "Params":
        context, targets = self.align.teacher_context, self.score.targets
        if self.score.contrast and (context not in ("peer", "reference") or targets != "topk"):
            raise ValueError(
                "score.contrast needs score.targets topk and align.teacher_context peer or "
                f"reference, whose place a wrong response takes; they are {targets} and {context}"
            )
        return self

    @model_validator(mode="after")
    def _an_onset_needs_scores(self) -> "Params":
        if self.align.mask not in ("divergence", "quote_or_divergence"):
            return self
        if self.score.targets == "none":
            raise ValueError(
                f"align.mask: {self.align.mask} needs score.targets topk or hidden; with none, "
                "distill runs the teacher, and score knows no divergence"
            )
        if self.align.teacher_context == "none":
            raise ValueError(
                f"align.mask: {self.align.mask} needs a teacher; set align.teacher_context to "
                "idea, peer or reference"
            )
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
