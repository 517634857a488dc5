"""How a reflection has to look (`reflect.contract`), and how it is read.

| reflect.contract | a reflection on a wrong response | on a correct one |
| --- | --- | --- |
| free | anything; the prompt asks for the tags | anything |
| constrained | free text, but only pieces of the response as quotes | anything |
| forced | the tags alone: a quote of whole words, then an idea | an idea in its tags |

Models that follow instructions need `free`; small ones rarely write the tags unless `forced`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rosd_core.reflect.parse import Reflection, parse_constrained, parse_reflection


@dataclass(frozen=True)
class Contract:
    """`params.yaml: reflect`, as far as it says how a reflection looks; the names are the same
    there. `prefill` holds, for each kind, the text that every answer starts with.
    """

    contract: str
    quote_chars: tuple[int, int]
    idea_chars: tuple[int, int]
    prefill: Mapping[str, str]

    def grammar(self, kind: str, response: str) -> str | None:
        """The grammar of a reflection on `response`; None where anything may be written, and where
        a wrong response has no visible character to quote.
        """
        if self.contract == "free":
            return None
        # llguidance takes a moment to import, and the default does not need it
        from rosd_core.sampling.quote_grammar import forced_grammar, quote_grammar

        wrong = kind == "wrong"
        if self.contract == "constrained":
            return quote_grammar(response, *self.quote_chars) if wrong else None
        return forced_grammar(response if wrong else None, self.quote_chars, self.idea_chars)

    def read(self, raw: str, kind: str, response: str, finish_reason: str) -> Reflection:
        """Quotes and idea of an answer."""
        if self.contract != "free" and kind == "wrong":
            return parse_constrained(raw, response, finish_reason)
        return parse_reflection(raw, kind, finish_reason)
