"""The files of a model for others: weights in one piece, tokenizer, configs, chat template."""

import json
import shutil
from pathlib import Path

from rosd_core.models.loading import (
    is_adapter,
    load_adapter,
    load_config,
    load_generation_config,
    load_tokenizer,
)
from rosd_core.tables.atomic import write_json

LOCAL = ("is_local", "local_files_only", "_commit_hash")  # how the tokenizer was read here
WEIGHTS = ("model*.safetensors", "model*.safetensors.index.json")


def write_checkpoint(model: Path, folder: Path) -> None:
    """Write the model of a folder to another one, which is there and empty. An adapter is merged
    into its base (fp32); weights that are whole are copied as they are.
    """
    tokenizer, generation = load_tokenizer(model), load_generation_config(model)
    if is_adapter(model):
        load_adapter(model, trainable=False).merge_and_unload().save_pretrained(folder)
    else:
        load_config(model).save_pretrained(folder)
        for file in sorted({f for pattern in WEIGHTS for f in model.glob(pattern)}):
            shutil.copyfile(file, folder / file.name)
    generation.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    write_json(file, {key: value for key, value in config.items() if key not in LOCAL})
