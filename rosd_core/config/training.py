"""`params.yaml: align`, `score`, `distill`: what is trained on, toward which teacher, and how."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rosd_core.config.engines import TeacherName
from rosd_core.config.section import Count, NotNegative, Positive, Rate, Section, Seed, Share


class Align(Section):
    teacher_context: Literal[
        "idea", "peer", "reference", "feedback", "feedback_peer", "critique", "plain", "none"
    ]
    no_peer: Literal["skip", "reference"]
    mask: Literal["quote", "all", "divergence", "quote_or_divergence"]
    wrong: Literal["use", "skip"]
    correct: Literal["use", "skip"]
    all_success: Literal["use", "skip"]
    weight: Literal["one", "advantage", "pass_rate"]
    quote_not_found: Literal["drop", "whole", "from_first_difference"]
    spans: Literal["first_to_end", "spans", "first_to_end_of_step"]
    skip_thinking: bool
    skip_first: Count
    fuzzy_threshold: Annotated[float, Field(ge=50)]


class Score(Section):
    teacher: TeacherName
    ema_rate: Share
    trust_region_mix: Share
    targets: Literal["topk", "hidden", "none"]
    support: Literal["student", "teacher", "union", "full"]
    top_k: Positive
    show_top: Annotated[int, Field(ge=0, le=100)]
    max_prompt_tokens: Positive
    batch_tokens: Positive
    autocast: Literal["none", "bfloat16"]
    lift: Literal["stop", "warn", "off"]
    lift_confidence: Annotated[float, Field(gt=0, lt=1)]
    row_lift: Literal["keep", "drop"]
    idea_check: Literal["keep", "drop"]
    contrast: NotNegative
    divergence_threshold: Annotated[float, Field(ge=0, lt=math.log(2))]
    teacher_samples: Count
    shard_rows: Positive

    @model_validator(mode="after")
    def _an_idea_is_checked_by_a_model(self) -> "Score":
        if self.idea_check == "drop" and self.targets == "none":
            raise ValueError(
                "score.idea_check: drop needs score.targets topk or hidden; with none, score runs "
                "no model"
            )
        return self

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
    quantize: Literal["none", "nf4"] = "none"

    @property
    def adapter(self) -> dict[str, Any]:
        """The arguments of a new adapter."""
        return self.model_dump(exclude={"merge", "quantize"})

    @property
    def quantized(self) -> bool:
        """Whether the frozen weights under the adapter are in 4 bits."""
        return self.quantize == "nf4"


def student_options(lora: Lora | None) -> dict[str, Any]:
    """How a student is opened: the arguments of a new adapter, if one is trained, and whether the
    weights under it are in 4 bits.
    """
    return {"lora": lora and lora.adapter, "quantized": lora is not None and lora.quantized}


class Distill(Section):
    seed: Seed
    loss: Literal[
        "divergence", "skew_kl", "sampled_token", "cross_entropy", "policy_gradient",
        "policy_gradient_kl", "fixed_advantage",
    ]  # fmt: skip
    policy_clip: Annotated[float, Field(gt=0, lt=1)]
    kl_weight: NotNegative
    unlikely: Annotated[float, Field(gt=0, le=1)]
    alpha: Share
    tail: Literal["bucket", "renormalised"]
    importance_clip: Annotated[float, Field(ge=1)]
    entry_clip: Rate | None
    token_weight: Literal["one", "decay", "entropy", "divergence", "entropy_or_divergence"]
    token_decay: Rate
    token_share: Annotated[float, Field(gt=0, le=1)]
    optimizer: Literal["adamw", "adamw_8bit", "adafactor"]
    learning_rate: Rate
    warmup_steps: Count
    betas: tuple[Share, Share]
    weight_decay: NotNegative
    grad_clip: Rate
    shuffle: Literal["rows", "problems"]
    rows_per_step: Positive
    batch_tokens: Positive
    autocast: Literal["none", "bfloat16"]
    gradient_checkpointing: bool
    sharding: Literal["none", "fsdp"]
    offload: bool
    save_every: Positive | None
    lora: Lora | None

    @model_validator(mode="after")
    def _a_skewed_kl_is_not_zero(self) -> "Distill":
        if self.loss == "skew_kl" and self.alpha == 1:
            raise ValueError("distill.loss skew_kl is 0 at distill.alpha 1; take one below 1")
        return self

    @model_validator(mode="after")
    def _sharding_is_possible(self) -> "Distill":
        if self.sharding == "fsdp" and self.optimizer == "adafactor":
            raise ValueError(
                "distill.optimizer adafactor needs distill.sharding none: torch's knows no sharded "
                "weights; take adamw_8bit or adamw with fsdp"
            )
        if self.sharding == "fsdp" and self.quantized:
            raise ValueError(
                "distill.lora.quantize nf4 needs distill.sharding none: weights in 4 bits are not "
                "sharded; several processes then share the batches"
            )
        if self.offload and self.sharding == "none":
            raise ValueError("distill.offload needs distill.sharding fsdp, with one process too")
        return self

    @property
    def quantized(self) -> bool:
        """Whether the frozen weights under an adapter are in 4 bits."""
        return self.lora is not None and self.lora.quantized

    @property
    def merge(self) -> bool:
        """Whether the iteration writes whole weights although it trains an adapter."""
        return self.lora is not None and self.lora.merge
