"""report: accuracy per iteration and domain on the console, and a page, report.html, that shows
every rollout with its quote and its supervised tokens.

in  evaluations/<base and every iteration>.parquet, curves/<iteration>.csv, the tables and metrics
    of the iterations
out report.html, plots/accuracy.csv, plots/loss.csv, metrics/summary-all.json
"""

import sys

import polars as pl

from rosd_core.config.params import Params
from rosd_core.evaluate.stats import COLUMNS, mean_at_k
from rosd_core.report.accuracy import accuracy_table, loss_curve, summary
from rosd_core.tables.atomic import replacing, write_json
from rosd_core.tables.io import read_csv, read_table, write_csv
from rosd_core.tables.publish import publishing
from stages.origin import report_origin
from stages.paths import Paths
from stages.report_page import report_page


def run(params: Params, paths: Paths) -> None:
    """Iterations are read from params, never from the files on disk: those of removed iterations
    may still exist.
    """
    keys, p, origin = ["base", *params.loop], params.evaluate, report_origin(params, paths)
    samples = pl.concat(read_table("evaluation", paths.evaluation(key), COLUMNS) for key in keys)
    accuracy = mean_at_k(samples, p.confidence, p.bootstrap_resamples, p.seed)
    curves = {key: read_csv(paths.curve(key)) for key in params.loop}
    losses, trained = loss_curve(curves), params.prepare.trained()
    page, missing = report_page(params, paths, accuracy, curves)
    with publishing(paths.root, origin) as together:
        write_csv(accuracy, paths.plots("accuracy"), 6, together=together)
        write_csv(losses, paths.plots("loss"), 6, together=together)
        write_json(paths.metrics("summary", "all"), summary(accuracy, trained), together)
        with replacing(paths.page, together) as temporary:
            temporary.write_text(page, encoding="utf-8", errors="surrogatepass")
    accuracy_table(accuracy, keys, trained, params.report.precision, p.samples)
    for note in missing:
        print(f"rosd report: {note}", file=sys.stderr)
    print(f"{paths.page}: open it in a browser to see which tokens were corrected, and why.")


if __name__ == "__main__":
    from stages.cli import main

    main("report")
