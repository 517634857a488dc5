"""What the stages that sample share: the settings of their engine and of their workers."""

from rosd_core.config.engines import Engine
from rosd_core.config.params import Machine, Reflect, Rollout, Sampling
from rosd_core.sampling.engine import EngineSettings, ServerSettings, VllmSettings
from rosd_core.workers.pool import Workers


def longest(stage: Sampling) -> int:
    """The most tokens of a prompt, of what its answer starts with, and of the continuation."""
    starts = stage.prefill.values() if isinstance(stage, Reflect) else ()
    start = max((len(text.encode()) for text in starts), default=0)  # a byte is at most a token
    return stage.max_prompt_tokens + start + stage.max_new_tokens


def engine_settings(stage: Sampling, machine: Machine, engine: Engine) -> EngineSettings:
    """The engine of a stage."""
    bound = engine.parity.bound if engine.parity.rows else None
    server = engine.server.values_for(ServerSettings)
    return EngineSettings(
        stage.engine,
        machine.device,
        stage.batch_tokens,
        longest(stage),
        VllmSettings(**engine.vllm.values_for(VllmSettings)),
        ServerSettings(**server, check_bound=bound),
        stage.autocast,
    )


def workers(machine: Machine, engine: Engine, stage: Sampling | None = None) -> Workers:
    """Where the shards of a stage run; `stage` is the one that samples with an engine."""
    gpus = 0
    if isinstance(stage, Rollout) and stage.file is not None:
        stage = None  # no engine: the model itself reads what is there
    if machine.device == "cuda" and (stage is None or stage.engine != "server"):
        gpus = 1
        if stage is not None and stage.engine == "vllm":
            gpus = engine.vllm.tensor_parallel * engine.vllm.pipeline_parallel
    return Workers(engine.workers, engine.address, machine.threads, gpus)
