"""What align reads of a rollout, batch by batch, so that memory does not grow with the tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rosd_core.align.eligibility import AlignSettings, groups_of
from rosd_core.align.rows import align_row
from rosd_core.align.token_spans import TokenMap
from rosd_core.align.weights import Group
from rosd_core.tables.io import join_rows, read_table
from rosd_core.tables.lookup import RowReader
from rosd_core.tables.references import check_reflections, check_rollouts
from rosd_core.tables.row_types import AlignmentRow, ReflectionRow, RolloutRow

ROLLOUT = ["rollout_id", "problem_id", "response_ids", "response", "success"]
REFLECTION = ["rollout_id", "problem_id", "kind", "peer_id", "raw", "idea", "quotes", "status",
              "skip_reason"]  # fmt: skip


@dataclass(frozen=True)
class AlignInput:
    """A rollout with its reflection, the response of its peer (None where it has none, or where it
    is not read) and the facts of its group. Rows hold the columns REFLECTION and ROLLOUT.
    """

    reflection: ReflectionRow
    rollout: RolloutRow
    peer: str | None
    group: Group

    def row(self, token_map: TokenMap, settings: AlignSettings) -> AlignmentRow:
        """Its row of `alignments`."""
        ids, response = self.rollout["response_ids"], self.rollout["response"]
        spans_T2 = token_map.spans(ids, response)
        return align_row(self.reflection, self.rollout, self.peer, spans_T2, self.group, settings)


def align_inputs(
    problems: pl.DataFrame, rollouts: Path, reflections: Path, with_peers: bool
) -> Iterator[Sequence[AlignInput]]:
    """All inputs in the order of the reflections, in batches of about a row group of rollouts.

    The rollouts and the peers of a batch may be anywhere in their table; where they are in the same
    order, as the stages write them, each of its row groups is read once or twice. Raises RosdError
    where the tables do not belong together.
    """
    known = read_table("rollouts", rollouts, ["rollout_id", "problem_id", "success", "reward"])
    told = read_table("reflections", reflections, ["rollout_id", "problem_id", "peer_id"])
    check_rollouts(known, problems, rollouts)
    check_reflections(told, known, reflections)
    groups = groups_of(problems, known)
    peer_of = dict(told.select("rollout_id", "peer_id").iter_rows()) if with_peers else {}
    of_rollouts = RowReader("rollouts", rollouts)
    of_reflections = RowReader("reflections", reflections)
    for ids in of_reflections.batches(of_rollouts.usual_rows):
        peers = [peer for name in ids if (peer := peer_of.get(name)) is not None]
        found = of_rollouts.read([*ids, *peers], ROLLOUT)
        response = {row["rollout_id"]: row["response"] for row in found} if with_peers else {}
        yield [
            AlignInput(r, rollout, response.get(r["peer_id"]), groups[r["rollout_id"]])
            for r, rollout in join_rows(of_reflections.read(ids, REFLECTION), found)
        ]
