"""Where the tokens of a response begin in its text, as a browser counts, and what student and
teacher say about the supervised ones.

Dimension names: T token of the response, N supervised token, M shown id, C character.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from rosd_core.align.token_spans import TokenMap
from rosd_core.show.tokens import token_name

MILLI = 1000  # numbers are stored as whole thousandths of a nat


class Vocabulary:
    """The names of the ids that occur (`token_name`): each is stored once, and is what stands at
    its place.
    """

    def __init__(self, token_map: TokenMap) -> None:
        self.token_map = token_map
        self.place: defaultdict[int, int] = defaultdict()
        self.place.default_factory = self.place.__len__  # an id that is not there comes last

    def places(self, ids: Sequence[int]) -> list[int]:
        return list(map(self.place.__getitem__, ids))

    @property
    def strings(self) -> list[str]:
        return [token_name(self.token_map, token_id) for token_id in self.place]


def utf16_offsets(text: str) -> np.ndarray:
    """(C + 1,): how many UTF-16 code units, which is what JavaScript counts in, come before each
    character of the text, and all of them.

    "a😀b" -> 0, 1, 3, 4.
    """
    code_C = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return np.concatenate([[0], np.cumsum(1 + (code_C >= 0x10000))])


def token_ends(spans_T2: np.ndarray, offsets: np.ndarray) -> list[int]:
    """Where each token ends, in UTF-16 units; a token begins where the one before ends. Of tokens
    that share a character the first has it, the others have none.
    """
    return offsets[np.maximum.accumulate(spans_T2[:, 1])].tolist() if len(spans_T2) else []


def supervised(row: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """The columns of the N supervised tokens of a row of `scores`: positions, the tokens as places
    in the vocabulary, log-probabilities and divergence in thousandths of a nat, and of both the M
    likeliest ids, as places in the vocabulary, with their log-probabilities. What was not stored is
    empty.
    """
    tops = row["student_top_logp"], row["teacher_top_logp"]
    divergence, student, teacher, *logps = milli_lists(
        [row["divergence"], row["student_logp"], row["teacher_logp"], *tops[0], *tops[1]]
    )
    return {
        "at": list(row["positions"]),
        "token": vocabulary.places([row["response_ids"][t] for t in row["positions"]]),
        "divergence": divergence,
        "student": student,
        "teacher": teacher,
        "student_top": [vocabulary.places(ids) for ids in row["student_top_ids"]],
        "student_top_logp": logps[: len(tops[0])],
        "teacher_top": [vocabulary.places(ids) for ids in row["teacher_top_ids"]],
        "teacher_top_logp": logps[len(tops[0]) :],
    }


def milli(values: Sequence[float]) -> list[int]:
    """Nats as whole thousandths; -inf, an id that is ruled out, as -999999."""
    found = np.nan_to_num(np.asarray(values, dtype=np.float64), neginf=-999.999)
    return np.rint(found * MILLI).astype(np.int64).tolist()


def milli_lists(lists: Sequence[Sequence[float]]) -> list[list[int]]:
    """`milli` of each list, all at once."""
    flat = iter(milli(list(chain.from_iterable(lists))))
    return [list(islice(flat, len(values))) for values in lists]
