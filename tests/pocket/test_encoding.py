"""Conversations as ids, for tokenizers that read digits together, one by one, or with the space."""

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rosd_core.errors import RosdError
from rosd_core.pocket.encoding import Learnt, encode, encode_learnt, reply_end
from rosd_core.pocket.lessons import Conversation
from rosd_core.prompts.templates import Messages

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}{{ end }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
ASKED: Messages = [{"role": "user", "content": "Go."}]


def words(split: str, end: str = "<end>") -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the pieces that the pattern `split` cuts, out of those below."""
    pieces = ["?", "assistant:", "user:", "Go.", "Yes.", "Ready?", "<end>", "<other>", "\u010a"]
    pieces += ["37", "62", "3", "7", "6", "2", "5", "+", "25", "=", "\u0120", "\u012062", "is"]
    pieces += ["plus", "."]
    core = Tokenizer(models.WordLevel({piece: n for n, piece in enumerate(pieces)}, "?"))
    core.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<other>",
        chat_template=TEMPLATE.replace("{{ end }}", end),
    )


HEAD = r"user:|assistant:|Go\.|Yes\.|Ready\?|is|plus"


@pytest.mark.parametrize(
    ("split", "reply", "learnt"),
    [
        (HEAD + r"|\d{1,2}|\W", "37+25=62", [["62"]]),
        (HEAD + r"|\d|\W", "37+25=62", [["6", "2"]]),  # digit by digit
        (HEAD + r"|\d|\W", "37+25=62\n37+25=62", [["6", "2"], ["6", "2"]]),
        (HEAD + r"|\d|\W", "37 plus 25 is 62.", [["6", "2"]]),
        (HEAD + r"| ?\d{1,2}|\W", "37 plus 25 is 62.", [["\u012062"]]),  # the space is part of it
    ],
)
def test_of_a_drill_every_token_of_a_result_is_learnt(split, reply, learnt):
    tokenizer = words(split)
    (row,) = encode([Conversation("drill", ASKED, reply)], tokenizer, 6)
    tokens = tokenizer.convert_ids_to_tokens([row.response[t] for t in row.positions])
    assert tokens == [token for result in learnt for token in result]
    assert row.response[-1] == 6


def test_prompt_and_reply_are_encoded_one_by_one():
    """The prompt ends with a 3 and the reply starts with a 7: no token 37 across the border."""
    tokenizer = words(HEAD + r"|\d{1,2}|\W")
    tokenizer.chat_template = TEMPLATE.replace("assistant:{% endif", "assistant:3{% endif")
    (row,) = encode([Conversation("solve", ASKED, "7+25")], tokenizer, 6)
    assert tokenizer.convert_ids_to_tokens(row.prompt)[-1] == "3"
    assert tokenizer.convert_ids_to_tokens(row.response) == ["7", "+", "25", "<end>"]
    assert row.positions == [0, 1, 2, 3]


def test_learnt_are_the_tokens_that_touch_the_spans():
    tokenizer = words(HEAD + r"|\d{1,2}|\W")
    # 37+25=62: tokens 37, +, 25, =, 62 at characters 0-2, 2-3, 3-5, 5-6, 6-8
    rows: list[Learnt] = [(ASKED, "37+25=62", [(4, 6)]), (ASKED, "37+25=62", [(7, 8), (0, 1)])]
    assert [row.positions for row in encode_learnt(rows, tokenizer, 6)] == [[2, 3], [0, 4]]
    assert encode_learnt([], tokenizer, 6) == []


def test_a_reply_ends_with_what_the_template_writes_if_that_stops_a_response():
    tokenizer = words(HEAD + r"|<\w+>|\W")
    end, other = (tokenizer.vocab[token] for token in ("<end>", "<other>"))
    assert reply_end(tokenizer, [end, other]) == end
    assert reply_end(tokenizer, [other, end]) == end
    assert reply_end(tokenizer, [other]) == other  # <end> would not stop it
    with pytest.raises(RosdError, match="names an end token"):
        reply_end(tokenizer, [])
