"""Quotes as careless reflectors write them: where they start, by class, and properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rosd_core.align.find_quote import find_quote
from rosd_core.align.fold import fold
from rosd_core.align.heads import head_places
from rosd_core.align.signs import fraction_bars
from rosd_core.align.variants import label_length, unlabelled, with_opening
from rosd_core.reflect.parse import parse_reflection

RESPONSE = r"""**Step 1:** Tom has 3 red balls and 4 blue ones.
**Step 2:** So he has 3 + 4 = 8 balls in all.
- Each ball costs $2, so he pays 8 * 2 = $16.
- His sister pays $5 more than he does.

The mean is \( \mu = \frac{a + b}{2} \geq \sqrt{3} \) and $\alpha = 30^{\circ}$.
Thus $x_{1} \neq 10^{-3} \text{ kg}$, that is, **more** than that."""


@pytest.mark.parametrize(
    ("quote", "start"),
    [
        # lines quoted as one, with and without their list marks
        ("- Each ball costs $2, so he pays 8 * 2 = $16. - His sister pays $5 more", "- Each"),
        ("So he has 3 + 4 = 8 balls in all. Each ball costs $2, so he pays", "So he"),
        # a comment after the quoted words
        ("So he has 3 + 4 = 8 balls in all (it should be 7)", "So he"),
        ("he pays 8 * 2 = $16 <- the wrong number of balls", "he pays"),
        ("His sister pays $5 more than he does. This is not what the problem says.", "His"),
        # an invented label, the label of the response in other markup, a label left out
        ("Step 7: His sister pays $5 more than he does.", "His"),
        ("(c) His sister pays $5 more than he does.", "His"),
        ("Step 2. So he has 3 + 4 = 8 balls in all.", "Step 2"),
        ("**Step 2**: So he has 3 + 4 = 8 balls", "**Step 2"),
        ("So he has 3+4 = 8 balls in all.", "So he"),
        # LaTeX as plain text, and the reverse
        ("μ = (a + b)/2 ≥ √3", r"\mu"),
        ("mu = (a+b)/2 >= sqrt(3)", r"\mu"),
        ("(a + b)/2 >= sqrt(3) and α = 30°", r"\frac"),
        ("alpha = 30 degrees", r"\alpha"),
        ("x_1 != 10^(-3) kg", "x_{1}"),
        ("$x_1 ≠ 10⁻³ kg$", "$x_{1}"),
        (r"3 + 4 = 8 \text{ balls}", "3 + 4"),
        (r"he pays $8 \times 2 = \$16$", "he pays"),
        ("x_1 &ne; nothing", None),
        # two lines in one tag, what stands between them left out
        ("Tom has 3 red balls and 4 blue ones.\nHis sister pays $5 more than he does.", "Tom"),
        # markup that the quote starts with belongs to it
        ("**Step 1:** Tom  has 3 red balls", "**Step 1"),
        ("- His sister pays  $5 more", "- His"),
        (r"\(\alpha = 30^{\circ}\)", r"$\alpha"),
        # within quote marks
        ('Step 2 says "So he has 3 + 4 = 8 balls in all."', "So he"),
        ('"His sister pays $5 more than he does." is the first error', "His"),
        ("First error: His sister pays 5 more than he does.", "His"),
        # a label alone, or words of which the next number is another one
        ("Step 9:", None),
        ("Each ball costs $7 because", None),
    ],
)
def test_where_a_quote_starts(quote, start):
    found = find_quote(quote, RESPONSE, "", 80)
    if start is None:
        assert found is None
    else:
        assert found is not None
        assert found.span[0] == RESPONSE.index(start)


def test_an_ellipsis_starts_where_the_case_is_the_same():
    # the second place is shorter; only the first one starts with a capital letter
    text = "The cost of all of it is 5, the cost is 9. Then 9 is it."
    found = find_quote("The cost ... is it", text, "", 80)
    assert found is not None
    assert found.span[0] == 0


def test_a_fuzzy_match_leaves_the_punctuation_before_it_out():
    text = "We take 5, so shee payed 12 dollars in total."
    found = find_quote("so she payd 12 dollars in totl", text, "", 80)
    assert found is not None
    assert text[found.span[0] :].startswith("so shee")


def test_only_the_start_of_a_head_is_known():
    found = find_quote("Tom has 3 red balls (he has 5 of them in truth)", RESPONSE, "", 80)
    assert found is not None
    assert (found.match, RESPONSE[slice(*found.span)]) == ("head", "Tom has 3 red balls")


def test_a_head_says_enough_or_nothing():
    # two words are too few; "wants to" goes on otherwise, without a comment; 7 is not 3
    assert head_places("Tom has (a ball)", RESPONSE) == []
    assert head_places("Tom has 3 red balls under his bed and wants to sell them", RESPONSE) == []
    assert head_places("His sister pays $7 more than he does", RESPONSE) == []


def test_labels_by_hand():
    # "**Step 3:** " has 12 characters, "(b) " has 4, "2. " has 3
    texts = ("**Step 3:** x", "(b) x", "2. x", "- x", "2.5 x", "Stepping x", "a) x")
    assert [label_length(text) for text in texts] == [12, 4, 3, 2, 0, 0, 3]
    assert unlabelled("Step 3:") is None
    assert with_opening("- x = 1", "a\n- x = 1", (4, 9)) == (2, 9)
    assert with_opening("- x = 1", "a\n- **x = 1**", (6, 11)) == (2, 11)
    assert with_opening("x = 1", "a\n- x = 1", (4, 9)) == (4, 9)


def test_fractions_by_hand():
    # the numerator of the outer fraction closes at character 15, that of the inner one at 12
    assert fraction_bars(r"\frac{\frac{a}{b}}{c}") == {13, 17}
    assert fold(r"\frac{\frac{a}{b}}{c}").text == "a/b/c"
    assert fold("5 X 3").text == fold("5 x 3").text == fold("5 \u00d7 3").text == "5*3"
    assert fold(r"\dfrac{2 \cdot 3}{4}, \frac12").text == "2*3/4,1/2"


WORDS = st.lists(
    st.text(st.characters(categories=["Ll"], max_codepoint=127), min_size=3, max_size=8),
    min_size=24, max_size=40, unique_by=lambda word: word[:3],
)  # fmt: skip


def lines_of(words):
    """Lines of eight words, no two of which start alike, so every place is the only one."""
    return [" ".join(words[n : n + 8]) for n in range(0, len(words) - 7, 8)]


@settings(max_examples=100)
@given(WORDS, st.data())
def test_any_five_words_are_found_exactly(words, data):
    text = "\n".join(lines_of(words))
    starts = [n for n in range(len(text)) if n == 0 or text[n - 1].isspace()]
    first = data.draw(st.integers(0, len(starts) - 6))
    end = starts[first + 5] - 1
    quote = text[starts[first] : end]
    found = find_quote(quote, text, "", 80)
    assert found is not None
    assert (found.match, found.span) == ("exact", (starts[first], end))
    # the same with a comment, a label, and as one line
    for careless in (quote + " (this is wrong)", "Step 4: " + quote, quote.replace("\n", " ")):
        found = find_quote(careless, text, "", 80)
        assert found is not None
        assert found.span[0] == starts[first]


@settings(max_examples=50)
@given(WORDS, st.sampled_from(["- ", "* ", "1. ", "Step 1: ", "**Step 1:** "]), st.booleans())
def test_list_items_quoted_as_one_line_start_at_the_first(words, mark, kept):
    items = [mark.replace("1", str(n)) + line for n, line in enumerate(lines_of(words), 1)]
    text = "Words:\n" + "\n".join(items)
    quote = " ".join(items[1:3] if kept else [items[1], lines_of(words)[2]])
    found = find_quote(quote, text, "", 80)
    assert found is not None
    assert found.span[0] == text.index(items[1])


@pytest.mark.parametrize("piece", ["a", "\\", "{", "\\frac{", "<<", "\n", "- ", "* ", "(1 ", "$"])
def test_hostile_text_takes_linear_time(piece):
    # a quadratic search takes minutes here; all of these take a few seconds
    text = piece * (20_000 // len(piece))
    assert find_quote("She has 3 apples and 4 pears (wrong)", text, "", 80) is None
    assert find_quote(text, "She has 3 apples and 4 pears.", "", 80) is None


def test_latex_in_json_is_found_in_the_response():
    raw = r'{"error_quote": "\( \mu = \frac{a + b}{2}", "explanation": "The mean is another."}'
    (quote,) = parse_reflection(raw, "wrong", "stop").quotes
    found = find_quote(quote, RESPONSE, "", 80)
    assert found is not None
    assert (found.match, found.span[0]) == ("exact", RESPONSE.index(r"\( \mu"))
