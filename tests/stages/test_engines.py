"""Stages with another engine, another reflector and another teacher. Real stages; the server is our
own engine behind HTTP (tests/completions_server.py), vLLM's is in tests/engines.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rosd_core.errors import RosdError
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import read_table
from tests.completions_server import Faults, serving
from tests.support import ROOT, SMALL, engine_params, run_stage, write_params

pytestmark = pytest.mark.stage
BASE = ROOT / "models" / "base"


def configure(project, **sections):
    """Small params with these changes."""
    names = SMALL.keys() | sections.keys()
    merged = {name: SMALL.get(name, {}) | sections.get(name, {}) for name in names}
    write_params(project, merged)


def run(project, *stages):
    for stage in stages:
        run_stage(project, stage, *(() if stage == "prepare" else ("i1",)))


def server_sections(url):
    same = {name: {"engine": "server"} for name in ("reflect", "evaluate")}
    return {
        "engine": engine_params(server={"url": url}),
        "rollout": SMALL["rollout"] | {"engine": "server"},
        **same,
    }


def test_an_iteration_with_a_server(project):
    with serving(BASE) as url:
        configure(project, **server_sections(url))
        run(project, "prepare", "rollout", "reflect", "align", "score", "distill")
        run_stage(project, "evaluate", "base")
        with pytest.raises(RosdError, match="is not the student"):  # the server has the old model
            run_stage(project, "evaluate", "i1")
    assert not (project / "evaluations" / "i1.parquet").exists()
    metrics = json.loads((project / "metrics" / "score-i1.json").read_text())
    assert metrics["parity_rows"] == 8
    assert metrics["parity_mean"] < 1e-5
    reflections = read_table("reflections", project / "iterations/i1/reflections.parquet")
    asked = reflections.filter(reflections["status"] != "skipped")
    assert set(asked["model"]) == {fingerprint(BASE)}


def test_a_wrong_temperature_stops_the_run(project):
    """A server that is not checked before, and samples at 1.3 times the temperature."""
    with serving(BASE, Faults(heat=1.3)) as url:
        sections = server_sections(url)
        parity = sections["engine"]["parity"]
        sections["engine"]["parity"] = parity | {"rows": 0}
        configure(project, **sections)
        run(project, "prepare", "rollout", "reflect", "align")
    sections["engine"]["parity"] = parity
    configure(project, **sections)
    with pytest.raises(RosdError, match="not those of the training forward pass"):
        run(project, "score")
    assert not (project / "iterations/i1/scores.parquet").exists()


@pytest.fixture
def stranger(tmp_path):
    """A random model with a tokenizer that splits text into bytes, as a folder."""
    folder = tmp_path / "stranger"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate(["<end>", *alphabet])}
    own = Tokenizer(models.BPE(vocabulary, []))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers.decoders import ByteLevel

    own.decoder = ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<end>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=2048, eos_token_id=0, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_another_reflector_with_another_tokenizer(project, stranger):
    """It writes nonsense, but within the grammar, so the loop reads its quotes and ideas."""
    reflect = {
        "model": "stranger", "contract": "forced", "quote_chars": [2, 12], "idea_chars": [4, 12],
        "max_prompt_tokens": 900,
    }  # fmt: skip
    configure(project, reflect=reflect, score={"lift": "off"})
    run(project, "prepare", "rollout", "reflect", "align", "score", "distill")
    reflections = read_table("reflections", project / "iterations/i1/reflections.parquet")
    asked = reflections.filter(reflections["status"] != "skipped")
    assert set(asked["model"]) == {fingerprint(stranger)}
    assert set(asked["status"]) == {"ok"}
    alignments = read_table("alignments", project / "iterations/i1/alignments.parquet")
    wrong = alignments.filter(kind="wrong", status="supervised")
    assert len(wrong) == asked.filter(asked["kind"] == "wrong").height > 0


def test_a_reflector_that_is_nowhere_is_named(project):
    configure(project, reflect={"model": "no/such/model/anywhere"})
    run(project, "prepare", "rollout")
    with pytest.raises(RosdError, match="no/such/model/anywhere"):
        run(project, "reflect")


def test_another_teacher_and_its_fingerprint(project):
    """The teacher is a sharper base model in a folder of the project."""
    other = project / "big"
    shutil.copytree(BASE, other)
    weights = other / "model.safetensors"
    tensors = load_file(weights)

    def scale(factor):
        save_file({n: t * factor for n, t in tensors.items()}, weights, {"format": "pt"})

    scale(1.02)
    configure(project, score={"teacher": {"model": "big"}, "lift": "off"})
    run(project, "prepare", "rollout", "reflect", "align", "score", "distill")
    scores = read_table("scores", project / "iterations/i1/scores.parquet")
    assert set(scores["teacher"]) == {fingerprint(other)}
    scale(1.03)
    with pytest.raises(RosdError, match="written with the teacher"):
        run(project, "distill")


@pytest.mark.parametrize("targets", ["topk", "none"])
def test_a_teacher_with_a_shorter_context_leaves_rows_out(project, targets):
    """Its 40 positions hold no prompt with an idea, so every row with a teacher is too long."""
    other = project / "short"
    shutil.copytree(BASE, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 40}))
    score = {"teacher": {"model": "short"}, "lift": "off", "targets": targets}
    configure(project, score=score)
    run(project, "prepare", "rollout", "reflect", "align", "score")
    scores = read_table("scores", project / "iterations/i1/scores.parquet")
    assert set(scores["status"]) == {"too_long"}


def test_rollouts_of_an_older_model_are_refused(project):
    configure(project)
    run(project, "prepare", "rollout", "reflect", "align")
    weights = project / "models/base/model.safetensors"
    save_file({n: t * 1.01 for n, t in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(RosdError, match=r"made from another models/base .*`rosd rollout i1`"):
        run(project, "score")
