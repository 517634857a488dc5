"""An adapter and its base as one model of whole weights, for tools that know no adapters."""

from pathlib import Path

from rosd_core.errors import RosdError
from rosd_core.models.loading import base_of, is_adapter, load_adapter, load_plain, load_tokenizer
from rosd_core.tables.atomic import replacing_folder


def merge_adapter(adapter: Path, target: Path, base: Path | None) -> None:
    """Write fp32 weights W + (alpha / rank) B A to the new folder `target`, and the adapter's
    tokenizer, or its base's where it has none. `base` takes the place of the model that the
    adapter's config names.

    Raises RosdError where `adapter` holds none, or `target` is there already.
    """
    if not is_adapter(adapter):
        raise RosdError(f"{adapter}: no adapter there (adapter_config.json is missing).")
    if target.exists():
        raise RosdError(f"{target} is there already; delete it, or name another folder.")
    own = (adapter / "tokenizer.json").is_file()
    tokenizer = load_tokenizer(adapter if own else base or base_of(adapter))
    whole = load_plain(base or base_of(adapter))
    model = load_adapter(adapter, trainable=False, base=whole).merge_and_unload()
    with replacing_folder(target) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
