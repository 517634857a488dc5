"""Prompts are built when their shard is worked on; what is handed to a worker is small."""

import pickle

import pytest

from rosd_core.prompts.fit import PromptBuilder
from rosd_core.reflect.reflector import Answer
from tests.support import SMALL, run_stage, write_params

pytestmark = pytest.mark.stage

ROWS = 5  # of a shard


@pytest.fixture
def built(monkeypatch):
    """The rows whose prompts were built so far."""
    names, build = [], PromptBuilder.build

    def counted(self, template, row, *args, **parts):
        names.append(row)
        return build(self, template, row, *args, **parts)

    monkeypatch.setattr(PromptBuilder, "build", counted)
    return names


def watched(monkeypatch, stage):
    """The items that the stage hands out."""
    items, write = [], stage.write_shards

    def write_shards(table, path, given, *args):
        items.extend(given)
        return write(table, path, given, *args)

    monkeypatch.setattr(stage, "write_shards", write_shards)
    return items


def test_reflect_builds_the_prompts_of_one_shard(reflected, built, monkeypatch, tokenizer):
    from stages import reflect

    at_answer = []

    class Silent:
        model = "m"

        def answer(self, questions, decoding):
            at_answer.append(len(built))
            return [Answer("", 0, "stop")] * len(questions)

    monkeypatch.setattr(reflect, "open_engine", lambda *settings: (None, tokenizer))
    monkeypatch.setattr(reflect, "EngineReflector", lambda *engine: Silent())
    items = watched(monkeypatch, reflect)
    write_params(reflected, SMALL | {"reflect": {"shard_rows": ROWS}})
    run_stage(reflected, "reflect", "i1")
    assert len(items) == 24
    assert max(len(pickle.dumps(item)) for item in items) < 500
    assert at_answer
    assert all(count <= number * ROWS for number, count in enumerate(at_answer, 1))


def test_score_builds_the_prompts_of_one_shard(reflected, built, monkeypatch):
    from stages import score

    at_shard, deferred = [], score.deferred_rows

    def counted(*args):
        at_shard.append(len(built))
        return deferred(*args)

    monkeypatch.setattr(score, "deferred_rows", counted)
    items = watched(monkeypatch, score)
    changes = {"score": {"shard_rows": ROWS, "targets": "none"}}
    # responses teach their own group, whatever the reflections above say
    align = {"align": {"teacher_context": "feedback_peer", "mask": "all"}}
    write_params(reflected, SMALL | changes | align)
    for stage in ("align", "score"):
        run_stage(reflected, stage, "i1")
    assert max(len(pickle.dumps(item)) for item in items) < 500
    assert len(at_shard) > 1
    assert all(count <= number * ROWS for number, count in enumerate(at_shard, 1))
