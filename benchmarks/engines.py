"""Tokens per CPU second of every engine on one model: transformers' `generate`, ours, vLLM in
process, vLLM as a server; ours and vLLM also in bf16.

    .venv-vllm/bin/python benchmarks/engines.py MODEL_FOLDER       # after `make test-vllm`; minutes

Two workloads of 64 rows with prompts of the pocket world: 8 problems with 8 samples each, and 64
problems with one. Each engine runs in a process of its own, one after the other; loading and one
warm-up call do not count. CPU seconds are those of all its processes, the server's included. Rows
end where the model ends them; the tokens that came out are counted.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import psutil
import torch
import typer

from rosd_core.config.edit import with_values
from rosd_core.config.load import load_params
from rosd_core.pocket.world import make_problem
from rosd_core.prompts.chat import encode_chat, pad_id
from rosd_core.sampling.engine import Decoding, EngineSettings, Request, open_engine
from stages.engines import engine_settings
from stages.paths import Paths
from stages.serve import command

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("generate", "transformers", "transformers-bf16", "vllm", "vllm-bf16", "server")
WORKLOADS = {"8 problems x 8": (8, 8), "64 problems x 1": (64, 1)}


def make_requests(tokenizer, problems: int, samples: int) -> list[Request]:
    """Chat prompts of pocket problems, with a seed per row."""
    rows = []
    for n in range(problems):
        text = make_problem(11, "story", "benchmark", n).prompt
        ids = encode_chat(tokenizer, [{"role": "user", "content": f"{text} Explain each step."}])
        rows += [Request(f"{n}/{g}", ids, 1000 * n + 2 * g) for g in range(samples)]
    return rows


def generate_with(model, pad: int) -> Callable[[Sequence[Request], Decoding], int]:
    """transformers' `generate` on rows padded on the left; the tokens that it samples."""

    def run(requests: Sequence[Request], decoding: Decoding) -> int:
        longest = max(len(r.prompt_ids) for r in requests)
        ids, mask = torch.full((2, len(requests), longest), pad)
        mask[:] = 0
        for row, seen, request in zip(ids, mask, requests, strict=True):
            row[longest - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
            seen[longest - len(request.prompt_ids) :] = 1
        out = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, top_k=0,
            temperature=decoding.temperature, top_p=decoding.top_p, pad_token_id=pad,
            max_new_tokens=decoding.max_new_tokens,
        )  # fmt: skip
        ended = (out[:, longest:] == pad).cumsum(1)  # the model's end token is its pad token
        return int((ended <= 1).sum() - (ended == 1).sum() + (ended == 1).any(1).sum())

    return run


def open_named(
    name: str, folder: Path, settings: EngineSettings
) -> tuple[Callable[[Sequence[Request], Decoding], int], object]:
    """What is timed, and the tokenizer."""
    own = "transformers" if name == "generate" else name.removesuffix("-bf16")
    half = name.endswith("-bf16")
    assert settings.vllm is not None
    vllm = replace(settings.vllm, dtype="bfloat16" if half else "float32")
    settings = replace(settings, name=own, vllm=vllm, autocast="bfloat16" if half else "none")
    engine, tokenizer = open_engine(settings, folder)
    if name == "generate":
        return generate_with(engine.model, pad_id(tokenizer)), tokenizer  # pyright: ignore
    return lambda rows, how: sum(len(c.token_ids) for c in engine.generate(rows, how)), tokenizer


def cpu_seconds(server: psutil.Process | None) -> float:
    """Of this process and, where there is one, of the server with its children."""
    others = [server, *server.children(recursive=True)] if server else []
    return time.process_time() + sum(p.cpu_times().user + p.cpu_times().system for p in others)


def measure(name: str, folder: Path, settings: EngineSettings, new: int, pid: int) -> None:
    """Print the rates of one engine as JSON."""
    torch.set_num_threads(1)
    server = psutil.Process(pid) if pid else None
    run, tokenizer = open_named(name, folder, settings)
    decoding, rates = Decoding(1.0, 1.0, new), {}
    run(make_requests(tokenizer, 2, 2), decoding)
    for label, (problems, samples) in WORKLOADS.items():
        rows = make_requests(tokenizer, problems, samples)
        before, started = cpu_seconds(server), time.monotonic()
        tokens = run(rows, decoding)
        seconds, wall = cpu_seconds(server) - before, time.monotonic() - started
        rates[label] = [tokens, tokens / seconds, tokens / wall]
    print(json.dumps(rates))


def main(
    folder: Annotated[Path, typer.Argument(help="A model's folder.")],
    new: Annotated[int, typer.Option(help="Most new tokens of a row.")] = 40,
    only: Annotated[str, typer.Option(hidden=True)] = "",
    url: Annotated[str, typer.Option(hidden=True)] = "",
    pid: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Print a Markdown table."""
    folder = folder.resolve()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = url or f"http://127.0.0.1:{probe.getsockname()[1]}"
    params = load_params(ROOT / "params.yaml")
    server_at = params.engine.server.model_dump() | {"url": url}
    params = with_values(params, {"engine.server": server_at})
    settings = engine_settings(params.rollout, params.machine, params.engine)
    if only:
        measure(only, folder, settings, new, pid)
        return
    print("| workload | engine | tokens | per CPU second | per second |\n" + "| --- " * 5 + "|")
    for name in NAMES:
        call = [sys.executable, __file__, str(folder), "--new", str(new), "--only", name]
        arguments, variables = command(params, Paths(ROOT), str(folder))
        environment = variables | dict(os.environ)
        server = None
        if name == "server":
            quiet = subprocess.DEVNULL
            server = subprocess.Popen(arguments, env=environment, stdout=quiet, stderr=quiet)
            wait_for(url)
            call += ["--url", url, "--pid", str(server.pid)]
        try:
            done = subprocess.run(call, capture_output=True, text=True, timeout=900)
        finally:
            if server is not None:
                server.terminate()
                server.wait(60)
        if done.returncode:
            sys.exit(done.stderr[-2000:])
        for label, (tokens, rate, wall) in json.loads(done.stdout.splitlines()[-1]).items():
            print(f"| {label} | {name} | {tokens} | {rate:.0f} | {wall:.0f} |", flush=True)


def wait_for(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    for _ in range(180):
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(1)
    sys.exit("the server did not start")


if __name__ == "__main__":
    typer.run(main)
