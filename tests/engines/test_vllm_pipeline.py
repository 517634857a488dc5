"""Whole pocket iterations with `engine: vllm` and `engine: server`, every stage a process, against
vLLM's own server: `make test-vllm`.
"""

import importlib.util
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from rosd_core.tables.io import read_table
from tests.engines.support import (
    LORA,
    free_port,
    iteration,
    make_project,
    rosd,
    served,
    try_rosd,
)
from tests.support import engine_params

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"
    ),
]
PARITY = 1e-5  # nats per token, fp32 on both sides


def metrics(project: Path, name: str) -> dict:
    return json.loads((project / "metrics" / f"{name}.json").read_text())


def check_tables(project: Path) -> None:
    """The iteration's tables are whole, and the engine agrees with the training forward pass."""
    rollouts = read_table("rollouts", project / "iterations/i1/rollouts.parquet")
    assert len(rollouts) == 24
    assert (rollouts["behaviour_logp"].list.len() == rollouts["response_ids"].list.len()).all()
    assert metrics(project, "reflect-i1")["readable_share"] > 0.5
    score = metrics(project, "score-i1")
    assert score["parity_rows"] == 8
    assert score["parity_mean"] < PARITY
    assert len(read_table("evaluation", project / "evaluations/i1.parquet")) == 30
    print("parity:", {k: v for k, v in score.items() if k.startswith("parity")})


def test_an_iteration_with_vllm(tmp_path):
    """Away from temperature 1, with constrained quotes, whole weights."""
    changes = {
        "rollout": {"temperature": 0.8, "top_p": 0.95},
        "reflect": {"contract": "constrained"},
        "score": {"lift": "warn"},
    }
    project = make_project(tmp_path, "vllm", changes)
    iteration(project)
    check_tables(project)


def test_raw_logprobs_stop_the_run(tmp_path):
    """A wrong setting of the engine: log-probabilities before temperature."""
    options = {"options": {"logprobs_mode": "raw_logprobs"}}
    changes = {"rollout": {"temperature": 0.5}, "engine": engine_params(vllm=options)}
    project = make_project(tmp_path, "vllm", changes)
    for stage in ("reflect", "evaluate"):  # they are not what is tested
        text = (project / "params.yaml").read_text()
        head, _, tail = text.partition(f"\n{stage}:")
        (project / "params.yaml").write_text(
            f"{head}\n{stage}:{tail.replace('engine: vllm', 'engine: transformers', 1)}"
        )
    for stage in ("rollout", "reflect", "align"):
        rosd(project, stage, "i1")
    done = try_rosd(project, "score", "i1")
    assert done.returncode == 1
    assert "not those of the training forward pass" in done.stderr
    assert not (project / "iterations/i1/scores.parquet").exists()
    assert "not those of the training forward pass" in try_rosd(project, "parity", "i1").stderr


def test_an_iteration_with_a_server(tmp_path):
    """One server for the whole iteration: the trained adapter is loaded into it by name. Then its
    model is changed here, and not there.
    """
    url = f"http://127.0.0.1:{free_port()}"
    changes = {
        "engine": engine_params(server={"url": url}),
        "reflect": {"contract": "constrained"},
        "distill": {"lora": LORA, "learning_rate": 5e-4},
        "score": {"lift": "warn"},
    }
    project = make_project(tmp_path, "server", changes)
    down = try_rosd(project, "rollout", "i1")
    assert down.returncode == 1
    assert "no server answers there" in down.stderr
    with served(project, "base", url):
        iteration(project)
        check_tables(project)
        rosd(project, "evaluate", "base")
        base = read_table("evaluation", project / "evaluations/base.parquet")["response"]
        tuned = read_table("evaluation", project / "evaluations/i1.parquet")["response"]
        assert base.to_list() != tuned.to_list()
        assert "mean difference" in rosd(project, "parity", "i1").stdout
        weights = project / "models/base/model.safetensors"
        tensors = {name: tensor * 1.05 for name, tensor in load_file(weights).items()}
        save_file(tensors, weights, {"format": "pt"})
        other = try_rosd(project, "rollout", "i1")
        assert other.returncode == 1
        assert "is not the student" in other.stderr
        assert not list((project / "iterations/i1").glob("*.tmp"))
