"""One training step after another in several processes over gloo: the cases, and what each gives.

`everything` runs in every process: all cases in one start, since a start costs seconds.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rosd_core.distill.checkpoint import Saves
from rosd_core.distill.optimizer_state import save_state
from rosd_core.distill.processes import refuse_other_inputs
from rosd_core.distill.sharded import whole_student
from rosd_core.distill.steps import step_rows
from rosd_core.distill.targets import Objective
from rosd_core.distill.train import Optimization, train
from rosd_core.distill.watch import Watch
from rosd_core.errors import RosdError
from rosd_core.forward.hidden_states import MixPart, ModelMix
from rosd_core.forward.teachers import Teacher
from rosd_core.guards import Guards
from rosd_core.losses.head import head_of
from rosd_core.models.student import Student, new_adapter
from rosd_core.tables.bfloat16 import to_bfloat16
from tests.support import LOSS

OPTIMIZATION = Optimization(
    learning_rate=1e-3, warmup_steps=2, betas=(0.9, 0.999), weight_decay=0.01, grad_clip=1.0,
    batch_tokens=20, autocast="none", gradient_checkpointing=False,
    optimizer="adamw", sharding="none", offload=False,
)  # fmt: skip
UNSAVED = Saves(None, Path("nowhere"), None, writes=False)
UNBOUNDED = Watch(Guards("distill", {}, "off", ""), may_rest=False)
PER_TOKEN = (
    "positions", "behaviour_logp", "student_logp", "token_weight", "support_ids", "support_logp",
    "tail_logp", "teacher_logp",
)  # fmt: skip


def rows(count: int = 8, vocabulary: int = 20) -> list[dict[str, Any]]:
    """Score rows of different lengths with random targets on three ids."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for n in range(count):
        length, first = 3 + n, n % 3
        width = length - first
        ids = torch.randint(3, vocabulary, (length + 4,), generator=generator).tolist()
        logp = torch.randn(width, 4, generator=generator).log_softmax(-1)
        made.append(
            {
                "problem_id": f"p{n // 2}",
                "prompt_ids": ids[:4],
                "teacher_prompt_ids": [5, *ids[:4]],
                "response_ids": ids[4:],
                "positions": list(range(first, length)),
                "behaviour_logp": [-3.0] * width,
                "student_logp": [-3.0] * width,
                "weight": 1.0,
                "token_weight": np.ones(width),
                "status": "scored",
                "support_ids": [[3, 4, 5]] * width,
                "support_logp": logp[:, :3].tolist(),
                "tail_logp": logp[:, 3].tolist(),
                "teacher_logp": logp[:, 0].tolist(),
            }
        )
    return made


def emptied(data: list[dict[str, Any]], which: set[int]) -> list[dict[str, Any]]:
    """The same rows, some of them without supervised tokens."""
    return [
        row | {name: row[name][:0] for name in PER_TOKEN} if n in which else row
        for n, row in enumerate(data)
    ]


def with_hidden(data: list[dict[str, Any]], width: int) -> list[dict[str, Any]]:
    """Rows that store the teacher's hidden states: random ones."""
    generator = torch.Generator().manual_seed(1)
    return [
        row
        | {
            "teacher_hidden": to_bfloat16(
                torch.randn(len(row["positions"]), width, generator=generator)
            )
        }
        for row in data
    ]


def another(tiny: Any, untied: bool = False) -> Any:
    """A model of tiny's shape with other weights; `untied`: with a head of its own."""
    config = copy.deepcopy(tiny.config)
    config.tie_word_embeddings = not untied
    torch.manual_seed(7)
    return type(tiny)(config).eval()


def plain(tiny: Any) -> tuple[Student, Objective]:
    return Student(copy.deepcopy(tiny)), Objective(LOSS)


def untied(tiny: Any) -> tuple[Student, Objective]:
    return Student(another(tiny, untied=True)), Objective(LOSS)


def stored_hidden(tiny: Any) -> tuple[Student, Objective]:
    full = replace(LOSS, support="full")
    return Student(copy.deepcopy(tiny)), Objective(full, Teacher(head_of(another(tiny))))


def live(tiny: Any) -> tuple[Student, Objective]:
    mix = ModelMix((MixPart(another(tiny)),), 0)
    return Student(copy.deepcopy(tiny)), Objective(LOSS, Teacher(mix.head(), mix))


def lora(tiny: Any) -> tuple[Student, Objective]:
    """Only an adapter is trained, and the teacher is the same model without it."""
    torch.manual_seed(3)
    adapter = new_adapter(copy.deepcopy(tiny), "base", 4, 8, 0.0, "all-linear")
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:  # zero at first: the adapter would be its own teacher
            torch.nn.init.normal_(parameter, std=0.1)
    model: Any = adapter.get_base_model()
    mix = ModelMix((MixPart(model, within=adapter.disable_adapter),), 0)
    return Student(model, adapter), Objective(LOSS, Teacher(mix.head(), mix))


@dataclass(frozen=True)
class Case:
    """A training: student and objective, rows, rows per step, and changed settings. `least`: the
    share of the update that two processes may differ by.
    """

    made: Callable[[Any], tuple[Student, Objective]] = plain
    data: list[dict[str, Any]] = field(default_factory=rows)
    rows_per_step: int = 4
    settings: dict[str, Any] = field(default_factory=dict)
    least: float = 1e-4


CASES = {
    "several batches each": Case(),
    "fewer batches than processes": Case(settings={"batch_tokens": 1000}),
    "a batch per row": Case(settings={"batch_tokens": 1}, rows_per_step=7),
    "one row": Case(data=rows(1)),
    "rows without supervised tokens": Case(data=emptied(rows(), {0, 3, 4, 5})),
    "a head of its own": Case(untied),
    "stored hidden states": Case(stored_hidden, with_hidden(rows(), 32)),
    "a live teacher": Case(live),
    "an adapter, its base teaches": Case(lora),
    "gradient checkpointing": Case(settings={"gradient_checkpointing": True}),
    "bfloat16": Case(settings={"autocast": "bfloat16"}, least=0.05),
    "adafactor": Case(settings={"optimizer": "adafactor"}),
    "adamw_8bit": Case(settings={"optimizer": "adamw_8bit"}, least=0.05),
    "offload": Case(settings={"offload": True}),
}
NOT_SHARDED, ONLY_SHARDED = {"adafactor"}, {"offload"}


def whole(tensor: Any) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def run_case(
    tiny: Any,
    case: Case,
    sharding: str,
    saves: Saves = UNSAVED,
    steps: slice = slice(None),
    folder: Path | None = None,
) -> dict[str, Any]:
    """Logs, drift, and as whole tensors the optimizer's state and, in the first process, the
    trained parameters, after these steps; the state is written to `folder`, too.
    """
    student, objective = case.made(tiny)
    settings = replace(OPTIMIZATION, **{"sharding": sharding} | case.settings)
    todo = list(step_rows([case.data], case.rows_per_step, 1, "rows"))[steps]
    logs, drift, state = train(student.model, todo, saves, objective, settings, 0, 0, UNBOUNDED)
    if folder is not None:
        save_state(state, merged=False, folder=folder)
    found = whole_student(student, lambda: case.made(tiny)[0]).model
    trained = {n: p.detach() for n, p in found.named_parameters() if p.requires_grad}
    return {
        "logs": [asdict(log) for log in logs],
        "drift": drift.values(),
        "weights": trained,
        "state": {name: whole(value) for name, value in state.items()},
    }


# cut after 2 of 4 steps; 8 rows make them
CUT, FIRST, LAST = Case(rows_per_step=2), slice(0, 2), slice(2, None)
CUT_8BIT = replace(CUT, settings={"optimizer": "adamw_8bit"})


def everything(rank: int, world: int, state: Any, config: Any, folder: Path, names: Any) -> None:
    """All cases in one of `world` processes; the first one writes what they give, and each its
    logs. Then trainings that are cut: see `cut`.
    """
    from torch import distributed
    from transformers import Qwen3ForCausalLM

    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    tiny: Any = Qwen3ForCausalLM(config).eval()
    tiny.load_state_dict(state)
    for sharding in ("none", "fsdp"):
        skipped = NOT_SHARDED if sharding == "fsdp" else ONLY_SHARDED
        for name in names:
            if name in CASES and name not in skipped:
                found = run_case(tiny, CASES[name], sharding)
                told = json.dumps([found["logs"], found["drift"]])
                (folder / f"{name}-{sharding}.{rank}.json").write_text(told)
                if rank == 0:
                    torch.save(found, folder / f"{name}-{sharding}.pt")
    for name, case in (("cut", CUT), ("cut 8 bit", CUT_8BIT)):
        if name in names:
            cut(tiny, case, rank == 0, folder / name)
    (folder / f"compared.{rank}").write_text(compared(rank), encoding="utf-8")
    distributed.destroy_process_group()


def cut(tiny: Any, case: Case, first: bool, folder: Path) -> None:
    """The first two steps, with their save and state, left to others; the last two of two steps
    that one process without sharding did, from its state, in `plain`.
    """
    saves = Saves(None, folder / "saves", 1, first)
    run_case(tiny, case, "fsdp", saves, FIRST, folder / "state")
    begun = replace(UNSAVED, start=folder / "plain")
    found = run_case(tiny, case, "fsdp", begun, LAST)
    if first:
        torch.save(found, folder / "from-plain.pt")


def compared(rank: int) -> str:
    """What a process says where its learning rate is not that of the others."""
    refuse_other_inputs({"distill.seed": 1, "iterations/i1/scores.parquet": "abc"})
    try:
        refuse_other_inputs({"distill.seed": 1, "distill.learning_rate": min(1, rank) / 2})
    except RosdError as error:
        return str(error)
    except SystemExit as ended:
        return f"exit {ended.code}"
    return "equal"
