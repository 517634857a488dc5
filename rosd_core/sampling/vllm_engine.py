"""vLLM in the stage's own process: ids in, ids and log-probabilities out.

Each row is a request with a seed of its own, so that rows need no spacing of seeds and may come in
any order; samples of a group share their prompt through the prefix cache. A student that is an
adapter is read with its base (LoRA): every row of a call then uses the adapter, because batches
that mix rows with and without one were wrong on a CPU (vLLM 0.32).

Log-probabilities are those after temperature and top_p (`processed_logprobs`). Those of the model
itself, where they differ, come from a second pass that reads prompt and response.
"""

import importlib.util
import json
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosd_core.errors import RosdError
from rosd_core.models.loading import (
    base_of,
    folder_context_length,
    is_adapter,
    load_generation_config,
    load_tokenizer,
)
from rosd_core.prompts.chat import stop_ids
from rosd_core.sampling.engine import Completion, Decoding, EngineSettings, Request, VllmSettings
from rosd_core.sampling.requests import (
    refuse_bad_logprobs,
    refuse_overlong,
    signed_seed,
    with_model_logprobs,
)
from rosd_core.tables.progress import Report

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
INSTALL = (
    "install it with pip install 'rosd[vllm]' in an environment with a GPU, or see docs/engines.md "
    "for a CPU"
)


class VllmEngine:
    """`model` is a vllm.LLM, `adapter` its LoRARequest where the student is one."""

    def __init__(
        self, model: Any, adapter: Any, stop_ids: Sequence[int], context: int, report: Report
    ) -> None:
        self.model, self.adapter, self.stops = model, adapter, list(stop_ids)
        self.context_length, self.report = context, report

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]:
        """Sample a continuation of each request, in the order of the requests.

        Raises RosdError for a prompt that leaves no room for `max_new_tokens`, and where vLLM
        fails.
        """
        second = decoding.model_logprobs and not decoding.plain
        room = decoding.max_new_tokens + second  # reading a response samples a token behind it
        refuse_overlong(requests, room, self.context_length)
        if second and self.adapter is not None:
            raise RosdError(
                "vLLM gives no student_logp for an adapter: set rollout.temperature 1 and "
                "rollout.top_p 1, or distill.lora.merge true."
            )
        prompts = [list(request.prompt_ids) for request in requests]
        outputs = self._run(prompts, [self._params(request, decoding) for request in requests])
        done = [_completion(output.outputs[0], self.stops) for output in outputs]
        self.report(len(done), len(done), sum(len(c.token_ids) for c in done))
        if decoding.model_logprobs:
            ids = [completion.token_ids for completion in done]
            own = self._read(prompts, ids) if second else [c.logprobs for c in done]
            done = with_model_logprobs(done, own)
        refuse_bad_logprobs("vLLM", requests, done)
        return done

    def _params(self, request: Request, decoding: Decoding) -> Any:
        """vLLM's sampling parameters of a row."""
        library = _vllm()
        structured = library.sampling_params.StructuredOutputsParams

        grammar = request.grammar and structured(grammar=request.grammar)
        return library.SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p if decoding.temperature else 1.0,
            max_tokens=decoding.max_new_tokens,
            seed=signed_seed(request.seed) if decoding.temperature else None,
            logprobs=0,
            stop_token_ids=self.stops,
            structured_outputs=grammar or None,
            detokenize=False,
        )

    def _run(self, prompts: Sequence[list[int]], params: Any) -> list[Any]:
        """vLLM's outputs. After one of its errors the next call may hang: the stage has to end."""
        try:
            return self.model.generate(
                [{"prompt_token_ids": ids} for ids in prompts],
                params,
                use_tqdm=False,
                lora_request=self.adapter,
            )
        except Exception as error:
            raise RosdError(f"vLLM failed: {reason(error)}") from error

    def _read(
        self, prompts: Sequence[list[int]], responses: Sequence[list[int]]
    ) -> list[list[float]]:
        """Log-probabilities at temperature 1, over all ids, of responses to their prompts."""
        # the last token is read, too, as the one that would be sampled is not needed
        once = _vllm().SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False
        )
        whole = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
        outputs = self._run(whole, [once] * len(whole))
        return [
            [
                found[token].logprob
                for found, token in zip(
                    output.prompt_logprobs[len(prompt) :], response, strict=True
                )
            ]
            for output, prompt, response in zip(outputs, prompts, responses, strict=True)
        ]


def _vllm() -> Any:
    """The library, which other environments lack."""
    return import_module("vllm")


def _completion(output: Any, stops: Sequence[int]) -> Completion:
    ids = list(output.token_ids)
    logprobs = [found[token].logprob for found, token in zip(output.logprobs, ids, strict=True)]
    return Completion(ids, logprobs, "stop" if ids[-1] in stops else "length")


def open_model(
    settings: EngineSettings, folder: Path, report: Report
) -> "tuple[VllmEngine, PreTrainedTokenizerBase]":
    """The engine on the model of a folder, with its tokenizer. Raises RosdError where vLLM is not
    installed, or cannot open the model.
    """
    assert settings.vllm is not None
    if importlib.util.find_spec("vllm") is None:
        raise RosdError(f"engine vllm: vLLM is not installed; {INSTALL}.")
    tokenizer = load_tokenizer(folder)
    whole = base_of(folder) if is_adapter(folder) else folder
    variables = environment(settings.device, settings.vllm.cpu_cache_gib)
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    context = min(folder_context_length(folder), settings.longest + 1)
    arguments = lora_arguments(folder_rank(folder)) | llm_arguments(
        settings.device, settings.vllm, context
    )
    try:
        model = _vllm().LLM(str(whole), **arguments)
    except Exception as error:
        raise RosdError(
            f"vLLM cannot open {whole}: {reason(error)} Look at engine.vllm in params.yaml: dtype, "
            "gpu_memory or cpu_cache_gib, tensor_parallel, options."
        ) from error
    stops = stop_ids(load_generation_config(folder), tokenizer)
    return VllmEngine(model, _adapter(folder), stops, context, report), tokenizer


def environment(device: str, cpu_cache_gib: int) -> dict[str, str]:
    """Settings that vLLM reads from the environment; those that are set there already stay."""
    variables = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    if device == "cpu":
        variables |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process starts faster
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # machine.threads counts
            "VLLM_CPU_KVCACHE_SPACE": str(cpu_cache_gib),
        }
    return variables


def llm_arguments(device: str, settings: VllmSettings, context: int) -> dict[str, Any]:
    """The arguments of vllm.LLM, which are the options of its server, too. Seeded rows fail on a
    CPU where prompts are read in chunks.
    """
    return {
        "dtype": settings.dtype,
        "max_model_len": context,
        "gpu_memory_utilization": settings.gpu_memory,
        "tensor_parallel_size": settings.tensor_parallel,
        "pipeline_parallel_size": settings.pipeline_parallel,
        "enforce_eager": settings.eager,
        "use_tqdm_on_load": False,
        "enable_prefix_caching": True,
        "enable_chunked_prefill": device != "cpu",
        "logprobs_mode": "processed_logprobs",
        "structured_outputs_config": {"backend": "guidance"},
        "generation_config": "vllm",  # only what a request says
        "seed": 0,
    } | settings.options


def folder_rank(folder: Path) -> int | None:
    """The rank of the adapter in a folder; None where it holds a whole model."""
    if not is_adapter(folder):
        return None
    return int(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"])


def lora_arguments(rank: int | None) -> dict[str, Any]:
    """Further arguments for adapters of this rank; vLLM takes only RANKS as their upper bound."""
    if rank is None:
        return {}
    bound = next((allowed for allowed in RANKS if allowed >= rank), rank)
    return {"enable_lora": True, "max_lora_rank": bound}


def _adapter(folder: Path) -> Any:
    if not is_adapter(folder):
        return None
    return import_module("vllm.lora.request").LoRARequest(folder.name, 1, str(folder))


def reason(error: Exception) -> str:
    """What an error says, as one line: of a validation error what is wrong, else its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("For further information")]
    wrong = [line.partition(" [type=")[0] for line in told if line.startswith("Value error, ")]
    last = told[-1] if told else type(error).__name__
    return (wrong or [last])[0].removeprefix("Value error, ").rstrip(".") + "."
