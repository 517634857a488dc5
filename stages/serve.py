"""serve: vLLM's OpenAI-compatible server with the settings that `engine: server` needs."""

import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from rosd_core.config.params import Params
from rosd_core.errors import RosdError
from rosd_core.models.loading import base_of, folder_context_length, is_adapter
from rosd_core.sampling.engine import VllmSettings
from rosd_core.sampling.vllm_engine import INSTALL, environment, llm_arguments, lora_arguments
from stages.engines import longest
from stages.paths import Paths

MODULE = "vllm.entrypoints.openai.api_server"


def command(params: Params, paths: Paths, model: str) -> tuple[list[str], dict[str, str]]:
    """The server's command line and environment: on the model of a key, a folder or a hub id. An
    adapter is served by its base; the stages load it by name.
    """
    known = model == "base" or model in params.loop
    folder = paths.model_folder(model) if known else paths.other_model(model)
    whole = base_of(folder) if is_adapter(folder) else folder
    stages = (params.rollout, params.reflect, params.evaluate)
    v = VllmSettings(**params.engine.vllm.values_for(VllmSettings))
    device, url = params.machine.device, urlsplit(params.engine.server.url)
    needed, most = max(map(longest, stages)), folder_context_length(folder)
    # reading a response samples a token behind it; vLLM refuses more than the model has
    context = max(needed, min(needed + 1, most))
    options: dict[str, Any] = {
        "model": str(whole), "host": url.hostname, "port": url.port or 80,
        "served_model_name": params.engine.server.model or str(whole),
    }  # fmt: skip
    variables = environment(device, v.cpu_cache_gib) | {"VLLM_LOGGING_LEVEL": "INFO"}
    variables["OMP_NUM_THREADS"] = str(params.machine.threads)
    variables.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    if params.distill.lora is not None and not params.distill.lora.merge:
        options |= lora_arguments(params.distill.lora.rank)
        variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    return [
        sys.executable,
        "-m",
        MODULE,
        *_flags(options | llm_arguments(device, v, context)),
    ], variables


def _flags(options: Mapping[str, Any]) -> list[str]:
    """Options as vLLM's command line takes them."""
    flags = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            text = json.dumps(value) if isinstance(value, Mapping | list) else str(value)
            flags += [f"--{flag}", text]
    return flags


def start(arguments: Sequence[str], variables: Mapping[str, str]) -> None:
    """Become the server. Raises RosdError where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise RosdError(f"vLLM is not installed; {INSTALL}.")
    os.execve(arguments[0], list(arguments), dict(variables) | dict(os.environ))
