"""How much work the quotes of one reflection may cause, whatever text they and the response hold.

Exact and folded search is linear in the text. Fuzzy search is not: it aligns letter by letter, and
is bounded here. What the bounds cut is counted in `alignments.quotes_cut`.
"""

from dataclasses import dataclass
from math import isqrt

PLACES = 128  # places of a quote that are compared; its `candidates` are no more
COMPARED = 1000  # characters of a place that are compared, and of a quote that are aligned
LONGEST_QUOTE = 4000  # characters of a quote; of a longer one that is not found, the start is tried
LETTERS = 6_000  # letters that are aligned for one reflection
ROUGH = 1_500_000  # steps of the rough search that take as long as aligning one letter
LARGEST_ROUGH = 4_000 * ROUGH  # steps of one rough search


@dataclass
class Effort:
    """What is left of the fuzzy search of one reflection, and whether it was too little."""

    letters: int = LETTERS
    cut: bool = False

    def spend(self, quote: int, searched: int) -> bool:
        """Whether a quote of so many letters may still be aligned within so many characters.

        The rough search (the best of all substrings by their common letters) takes up to
        quote^2 x searched steps.
        """
        cost = quote + quote * quote * searched // ROUGH
        if cost > self.letters:
            self.cut = True
            return False
        self.letters -= cost
        return True


def letters_aligned(searched: int) -> int:
    """Letters at the start of a quote that are aligned, so that one rough search over so many
    characters stays below its bound: 1000, in responses over 6,000 characters fewer.
    """
    return min(COMPARED, isqrt(LARGEST_ROUGH // max(1, searched)))
