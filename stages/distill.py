"""distill: the student is pulled to the self-teacher at the supervised tokens, one epoch over the
score table.

in  iterations/<iteration>/scores.parquet, models/<start> (with its optimizer state, if it has one)
out models/<iteration>, curves/<iteration>.csv, metrics/distill-<iteration>.json
"""

import polars as pl
from safetensors.torch import save_file

from rosd_core.distill import STATE_FILE, refuse_unscored, summarise, train
from rosd_core.engine import load_model, pad_id
from rosd_core.params import Params
from rosd_core.seeds import row_seed
from rosd_core.tables import read_table, replacing
from stages.common import Paths, replacing_folder, set_threads, start_of, write_json


def run(params: Params, paths: Paths, iteration: str) -> None:
    """Valid prefixes are not in the table, so they cannot be trained on."""
    p = params.distill
    set_threads(params.machine.threads)
    folder = paths.weights(start_of(params, iteration))
    rows = (
        read_table("scores", paths.table("scores", iteration))
        .filter(pl.col("status") != "too_long")
        .to_dicts()
    )
    refuse_unscored(rows, p.loss)
    model, tokenizer = load_model(folder, params.machine.device)
    logs, state = train(
        model,
        rows,
        folder,
        pad_id=pad_id(tokenizer),
        seed=row_seed(p.seed, "order", iteration),
        **p.model_dump(exclude={"seed"}),
    )
    with replacing_folder(paths.model(iteration)) as target:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        save_file(state, target / STATE_FILE)
    with replacing(paths.curve(iteration)) as temporary:
        pl.DataFrame(logs).write_csv(temporary, float_precision=6)
    write_json(paths.metrics("distill", iteration), summarise(logs, rows))


if __name__ == "__main__":
    from stages.cli import main

    main("distill")
