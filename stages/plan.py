"""plan: what an iteration will cost, before it runs; no stage of dvc.yaml.

in  params.yaml, the base model's config.json and tokenizer; where they are there
    data/problems.parquet, metrics/*.json of earlier iterations
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rosd_core.config.load import load_params
from rosd_core.config.params import Params
from rosd_core.config.presets import apply_presets
from rosd_core.errors import RosdError
from rosd_core.models.loading import load_tokenizer
from rosd_core.models.pointer import read_pointer, resolve
from rosd_core.plan.case import Case
from rosd_core.plan.hardware import GIB, TERA, Hardware, card, this_cpu, this_gpu
from rosd_core.plan.known import Measured
from rosd_core.plan.layout import training_of
from rosd_core.plan.lengths import Ruler
from rosd_core.plan.model_shape import ModelShape, read_config, shape_of
from rosd_core.plan.plan import Plan, make_plan
from rosd_core.plan.problems import from_sources, from_table
from rosd_core.plan.workload import workload
from stages.complete import presets_folder
from stages.paths import Paths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Options:
    """What the user asked for; None: what is there. `memory` in GiB, `rate` in TFLOP/s."""

    gpus: int | None = None
    card: str | None = None
    memory: float | None = None
    rate: float | None = None
    iterations: int | None = None
    config: str | None = None
    presets: Sequence[str] = ()


def plan(params_file: Path, options: Options) -> Plan:
    """The plan of a project. With presets or another config it is a thought: nothing that earlier
    iterations measured is used. Raises RosdError.
    """
    paths = Paths(params_file.resolve().parent)
    params = thought_of(params_file, options.presets)
    place, folder = model_place(paths, options.config)
    shape = shape_of(read_config(place), place)
    own = options.config is None and not options.presets
    tokenizer = None if folder is None else tokenizer_of(folder)
    domains = params.prepare.domains
    if own and paths.problems.is_file():
        splits = from_table(paths.problems)
    else:
        sources = {name: paths.with_files(d.model_dump()) for name, d in domains.items()}
        splits = from_sources(sources, params.prepare.seed)
    keys = list(params.loop) if own else []
    load = workload(params, splits, Ruler(tokenizer), Measured(paths.root / "metrics", keys))
    hardware = hardware_of(params, shape, options)
    training = training_of(params.distill, shape, hardware.gpus)
    iterations = options.iterations or len(params.loop)
    return make_plan(Case(shape, params, load, training, hardware), iterations)


def thought_of(file: Path, presets: Sequence[str]) -> Params:
    """The params, with presets that are not written into the file."""
    params = load_params(file)
    if not presets:
        return params
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / file.name
        copy.write_bytes(file.read_bytes())
        return apply_presets(copy, presets_folder(file), presets)


def model_place(paths: Paths, config: str | None) -> tuple[str, Path | None]:
    """Where the model's config is, and the folder of its tokenizer where that is there."""
    if config is not None:
        there = Path(config)
        return config, there if (there / "tokenizer.json").is_file() else None
    base = paths.model("base")
    pointer = read_pointer(base)
    if pointer is not None and pointer.revision is not None:  # of the hub: nothing is fetched
        return pointer.model, None
    folder = resolve(base)
    if not (folder / "config.json").is_file():
        raise RosdError(
            f"{folder}: no model there. Name its config: --config FILE, a folder, or the hub id of "
            "a model that is known here."
        )
    return str(folder), folder


def tokenizer_of(folder: Path) -> "PreTrainedTokenizerBase | None":
    """The tokenizer of a folder; None where there is none that encodes a chat."""
    try:
        return load_tokenizer(folder)
    except RosdError:
        return None


def hardware_of(params: Params, shape: ModelShape, options: Options) -> Hardware:
    """The GPUs that are named or there, else this machine's CPU."""
    gpus, cuda = options.gpus, params.machine.device == "cuda"
    if options.card is not None or gpus is not None or cuda:
        found = this_gpu(gpus or 1) if options.card is None else card(options.card, gpus or 1)
    else:
        # what a stage imports has been imported here, too
        found = this_cpu(shape, params.machine.threads, start=time.process_time())
    if options.memory is not None:
        found = replace(found, memory=options.memory * GIB)
    if options.rate is not None:
        factor = options.rate * TERA / found.rates[2]
        rates = {width: rate * factor for width, rate in found.rates.items()}
        found = replace(found, rates=rates, name=f"{found.name}, at {options.rate:g} TFLOP/s")
    return found
