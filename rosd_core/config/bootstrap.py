"""`params.yaml: bootstrap`: the recipe of the pocket model."""

from typing import Annotated, Literal

from pydantic import Field

from rosd_core.config.section import NotNegative, Positive, Rate, Section, Seed, Share


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


Digits = list[Annotated[int, Field(ge=0, le=9)]]


class WeakDigits(Section):
    carry: Digits
    borrow: Digits
    regroup: Digits


class Bootstrap(Section):
    seed: Seed
    threads: Positive
    vocab_size: Annotated[int, Field(ge=400)]
    model: Shape
    rows_per_step: Positive
    batches_per_step: Positive
    weight_decay: NotNegative
    slip_rate: Share
    imitation: Share
    forget: dict[Literal["carry", "borrow", "regroup"], Share]
    weak_digits: WeakDigits | None
    domains: dict[str, Share]
    phases: dict[str, Phase]
