"""`params.yaml: finetune`: how a pretrained model is taught the pocket world."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rosd_core.config.bootstrap import Phase, WeakDigits
from rosd_core.config.section import NotNegative, Positive, Rate, Section, Seed, Share
from rosd_core.config.training import Lora


class Finetune(Section):
    seed: Seed
    rows_per_step: Positive
    batch_tokens: Positive
    betas: tuple[Share, Share]
    weight_decay: NotNegative
    grad_clip: Rate
    autocast: Literal["none", "bfloat16"]
    lora: Lora | None
    save_every: Positive
    measure_every: Positive
    held_out: Positive
    until: dict[Literal["idea_gain", "right_with_idea", "exact_reflect_wrong"], float]
    slip_rate: Share
    imitation: Share
    forget: dict[Literal["carry", "borrow", "regroup"], Share]
    weak_digits: WeakDigits | None
    domains: dict[str, Share]
    phases: Annotated[dict[str, Phase], Field(min_length=1)]

    @model_validator(mode="after")
    def _rules_can_be_forgotten(self) -> "Finetune":
        if not any(self.forget.values()):
            raise ValueError("finetune.forget: no rule has a rate above 0, so no idea can help")
        return self

    @model_validator(mode="after")
    def _the_end_can_be_measured(self) -> "Finetune":
        last = list(self.phases)[-1]
        if "exact_reflect_wrong" in self.until and not self.phases[last].mix.get("reflect_wrong"):
            raise ValueError(
                f"finetune.until: exact_reflect_wrong needs reflect_wrong in phases.{last}.mix"
            )
        return self

    def what_is_learnt(self) -> dict[str, Any]:
        """The values that the weights depend on, beyond the order of sums: a run that goes on must
        have the same.
        """
        free = {"batch_tokens", "save_every", "measure_every", "until", "lora"}
        lora = self.lora and self.lora.model_dump(exclude={"merge"}, exclude_defaults=True)
        return self.model_dump(mode="json", exclude=free) | {"lora": lora}
