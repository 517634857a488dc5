"""`engine: server` over HTTP against our own engine: what it sends, what it reads, and every way in
which a server goes wrong.
"""

import math
import socket
import time
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from rosd_core.errors import RosdError
from rosd_core.sampling import server_client
from rosd_core.sampling.engine import (
    Decoding,
    EngineSettings,
    Request,
    ServerSettings,
    open_engine,
)
from rosd_core.sampling.quote_grammar import quote_grammar
from rosd_core.sampling.requests import signed_seed
from rosd_core.sampling.server_engine import ServerEngine, load_adapter
from tests.completions_server import Faults, serving

PLAIN, TEMPERED = Decoding(1.0, 1.0, 8, True), Decoding(0.6, 0.9, 8, True)


@pytest.fixture(scope="module")
def folder(tiny, tokenizer, tmp_path_factory):
    """The random model `tiny`, as a folder."""
    there = tmp_path_factory.mktemp("tiny")
    tiny.save_pretrained(there)
    tokenizer.save_pretrained(there)
    return there


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(server_client, "PAUSE", 0.0)


def settings(url, bound: float | None = 0.001, longest=100, **changes):
    server = ServerSettings(url, None, 4, 30.0, 2, bound)
    return EngineSettings("server", "cpu", 8192, longest, None, replace(server, **changes))


def requests(count=9):
    return [Request(f"r{n}", list(range(5, 8 + n)), 2**63 + 99 * n) for n in range(count)]


def refused(folder, faults, match, how=PLAIN, behind=None, **changes):
    """The message of a server with these faults, with the model in `behind` or the student's."""
    with serving(behind or folder, faults) as url, pytest.raises(RosdError, match=match) as error:
        open_engine(settings(url, **changes), folder)[0].generate(requests(2), how)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("how", [PLAIN, TEMPERED, Decoding(0.0, 1.0, 8, True)])
def test_it_gives_what_the_engine_behind_it_samples(folder, how):
    """In the order of the requests, although four are under way at once."""
    rows = requests()
    own = [Request(r.row_id, r.prompt_ids, signed_seed(r.seed)) for r in rows]
    ours = open_engine(EngineSettings("transformers", "cpu", 8192), folder)[0].generate(own, how)
    with serving(folder) as url:
        theirs = open_engine(settings(url), folder)[0].generate(rows, how)
    for their, our in zip(theirs, ours, strict=True):
        assert their.token_ids == our.token_ids
        assert their.finish_reason == our.finish_reason
        assert their.logprobs == pytest.approx(our.logprobs, abs=2e-5)
        assert their.model_logprobs == pytest.approx(our.model_logprobs, abs=2e-5)


def test_a_request_says_everything_that_a_generation_config_could_add(folder):
    faults = Faults()
    with serving(folder, faults) as url:
        engine, _ = open_engine(settings(url, bound=None), folder)
        engine.generate([Request("a", [5, 6], 7, quote_grammar("1+1=3", 2, 5))], PLAIN)
    body = faults.asked[-1]
    assert (body["temperature"], body["top_p"], body["seed"]) == (1.0, 1.0, 3)
    assert body["prompt"] == [5, 6]
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (0, 0.0, 1.0)
    assert "substring_chars" in body["structured_outputs"]["grammar"]


def test_failures_are_tried_again(folder):
    faults = Faults(failures=2)
    with serving(folder, faults) as url:
        (done,) = open_engine(settings(url, bound=None), folder)[0].generate(requests(1), PLAIN)
    assert done.token_ids
    refused(folder, Faults(failures=99), r"answers 503 after 2 retries: busy", bound=None)


def test_a_server_that_is_down(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(RosdError, match=r"no server answers there\. Start it.*rosd serve"):
        open_engine(settings(url), folder)


def test_a_slow_server(folder):
    message = refused(
        folder, Faults(pause=0.4), "no answer within", bound=None, timeout=0.1, retries=1
    )
    assert "engine.server.timeout = 0.1 s after 1 retries" in message


def test_an_error_does_not_wait_for_requests_under_way(folder):
    """Four are under way at once, two seconds each, one after the other, so 8 s in all; the first
    one is refused after 2 s.
    """
    faults = Faults(refuse="no", pause=2.0)
    with serving(folder, faults) as url:
        engine, _ = open_engine(settings(url, bound=None), folder)
        started = time.monotonic()
        with pytest.raises(RosdError, match="no"):
            engine.generate(requests(40), PLAIN)
        assert time.monotonic() - started < 6


def test_what_the_server_says_is_passed_on(folder):
    refused(folder, Faults(refuse="top_p is odd"), r"refuses \(400\): top_p is odd", bound=None)


def test_another_model_by_name_context_folder_or_tokenizer(folder, tmp_path):
    refused(folder, Faults(names=("a", "b")), r"serves 2 models: a, b\. Set engine\.server\.model")
    refused(folder, Faults(), "no model 'x'; it has: student", model="x")
    refused(folder, Faults(context=50), "context of 50 tokens there.*add up to 100")
    refused(folder, Faults(root=str(tmp_path)), f"serves {tmp_path}, but the student is")
    refused(folder, Faults(shift=1), "another tokenizer than the student")


def test_other_weights(folder, tmp_path, tiny, tokenizer):
    """A model that is only a little different."""
    tiny.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    changed = {name: tensor * 1.01 for name, tensor in load_file(file).items()}
    save_file(changed, file, {"format": "pt"})
    with serving(tmp_path) as url, pytest.raises(RosdError, match=r"is not the student .* differ"):
        open_engine(settings(url), folder)


def test_a_wrong_temperature_is_noticed_before_the_first_row(folder):
    refused(folder, Faults(heat=1.3), "is not the student")


def test_raw_logprobs_do_at_temperature_1_alone(folder):
    with serving(folder, Faults(raw=True)) as url:
        engine, _ = open_engine(settings(url), folder)
        assert engine.generate(requests(1), PLAIN)[0].model_logprobs
    refused(folder, Faults(raw=True), "--logprobs-mode processed_logprobs", how=TEMPERED)


def test_a_wide_bound_does_not_hide_raw_logprobs(folder):
    """A bound of 5 nats holds them before and after temperature: the closer ones count."""
    for raw in (False, True):
        with serving(folder, Faults(raw=raw)) as url:
            engine, _ = open_engine(settings(url, bound=5.0), folder)
            assert isinstance(engine, ServerEngine)
            assert engine.raw == raw
    refused(folder, Faults(raw=True), "processed_logprobs", how=TEMPERED, bound=5.0)


def test_an_answer_that_is_no_completion(folder):
    refused(folder, Faults(odd=True), "answer is no completion: .*out of memory", bound=None)


def test_a_key_may_end_in_a_line_end(monkeypatch):
    monkeypatch.setenv(server_client.KEY, "secret\n")
    client = server_client.Client(ServerSettings("http://127.0.0.1:9/v1/", None, 1, 1.0, 0, None))
    assert client.session.headers["Authorization"] == "Bearer secret"
    assert client.url == "http://127.0.0.1:9"


@pytest.mark.parametrize("value", [math.nan, -math.inf, 0.5])
def test_a_log_probability_that_is_none(folder, value):
    match = rf"row r0: the log-probability of sampled token \d+ is {value} \(logprobs\)"
    refused(folder, Faults(logprob=value), match, bound=None)


def test_no_token_ids(folder):
    refused(folder, Faults(ids=False), "gives no token ids", bound=None)


def test_an_overlong_prompt_is_named(folder):
    with serving(folder, Faults(context=100)) as url:
        engine, _ = open_engine(settings(url), folder)
        with pytest.raises(RosdError, match=r"row r1: a prompt of 95 tokens and 8 new ones"):
            engine.generate([Request("r1", [5] * 95, 1)], PLAIN)


@pytest.mark.parametrize(("context", "how"), [(104, PLAIN), (105, TEMPERED)])
def test_the_context_may_be_filled(folder, context, how):
    """A prompt of 96 tokens and 8 new ones; to read them the server has to sample a ninth."""
    rows = [Request("r1", [5] * 96, 3)]
    with serving(folder, Faults(context=context)) as url:
        engine, _ = open_engine(settings(url), folder)
        (done,) = engine.generate(rows, how)
        assert len(done.token_ids) == len(done.model_logprobs) == 8
    with serving(folder, Faults(context=context - 1)) as url:
        engine, _ = open_engine(settings(url), folder)
        with pytest.raises(RosdError, match=rf"row r1: .* need {context} positions"):
            engine.generate(rows, how)


@pytest.fixture
def adapter(folder, tmp_path):
    """A new adapter on the model, which changes nothing, as a folder."""
    peft = pytest.importorskip("peft")
    from rosd_core.models.loading import load_plain

    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    adapter = tmp_path / "i1"
    model = load_plain(folder)
    model.name_or_path = str(folder)
    peft.get_peft_model(model, config).save_pretrained(str(adapter))
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (adapter / file).write_bytes((folder / file).read_bytes())
    return adapter


def test_an_adapter_that_another_worker_has_loaded_meanwhile(folder, adapter):
    """Both workers have seen a server without it; vLLM refuses to load a name twice."""
    with serving(folder, Faults(adapters=True)) as url:
        server = settings(url).server
        assert server is not None
        client = server_client.Client(server)
        assert load_adapter(client, adapter, []) == load_adapter(client, adapter, [])


def test_an_adapter_has_the_context_of_its_base(folder, adapter):
    refused(adapter, Faults(adapters=True, context=50), "context of 50 tokens", behind=folder)


def test_an_adapter_is_loaded_once_by_a_name_of_its_own(folder, adapter):
    faults = Faults(adapters=True)
    with serving(folder, faults) as url:
        for _ in range(2):
            engine, _ = open_engine(settings(url), adapter)
            assert engine.generate(requests(1), PLAIN)[0].token_ids
        loaded = [body["lora_name"] for body in faults.asked if "lora_name" in body]
        assert len(loaded) == 1
        assert loaded[0].startswith("i1-")
        with pytest.raises(RosdError, match=r"no student_logp for an adapter"):
            engine.generate(requests(1), TEMPERED)
        whole, _ = open_engine(settings(url), folder)  # the adapter is not a second model
        assert whole.generate(requests(1), PLAIN)[0].token_ids
    with serving(folder) as url, pytest.raises(RosdError, match=r"To load adapters it has to be"):
        open_engine(settings(url), adapter)
