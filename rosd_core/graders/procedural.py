"""Generators of reasoning-gym: procedural problems, each generator with its own scorer."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from rosd_core.errors import RosdError

# Their scorers evaluate the text of an answer (eval or sympy's parse_expr): refused.
UNSAFE_GENERATORS = frozenset(
    {
        "binary_matrix",
        "countdown",
        "intermediate_integration",
        "n_queens",
        "number_sorting",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
        "spiral_matrix",
        "string_insertion",
    }
)


@cache
def _made_dataset(name: str, config: str, seed: int, size: int) -> Any:
    import reasoning_gym  # takes a second: imported only where it is used

    return reasoning_gym.create_dataset(name, seed=seed, size=size, **json.loads(config))


def gym_dataset(name: str, config: Mapping[str, Any], seed: int, size: int) -> Any:
    """A generator of reasoning-gym with its entries 0..size-1. Raises RosdError for a name or
    config that it does not have, and for generators whose scorer evaluates the answer's text.
    """
    try:
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise RosdError(
            "prepare: reasoning-gym is not installed: pip install -e '.[gym]'"
        ) from None

    if name not in DATASETS:
        from rapidfuzz import process

        near = process.extractOne(name, list(DATASETS))
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise RosdError(f"prepare: reasoning-gym has no generator {name!r}.{hint}")
    if name in UNSAFE_GENERATORS:
        raise RosdError(
            f"prepare: the scorer of reasoning-gym's {name!r} evaluates the text of an answer as "
            "code; a model's text is never evaluated here. Take another generator."
        )
    try:
        return _made_dataset(name, json.dumps(config, sort_keys=True), seed, size)
    except (TypeError, AssertionError, ValueError) as error:
        raise RosdError(
            f"prepare: reasoning-gym's {name!r} refuses {dict(config)}: {error}"
        ) from None


def gym_score(dataset: Any, index: int, answer: str) -> float | None:
    """The generator's score in [0, 1] of an answer to an entry; None where its scorer raises, as
    some do on ordinary text, or gives no such number.
    """
    entry = dataset[index]
    try:
        score = float(dataset.score_answer(answer, entry))
    except Exception:  # a scorer of another project, on a model's text
        return None
    return score if 0 <= score <= 1 else None
