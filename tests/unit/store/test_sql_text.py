"""SQL for a person to run says nothing else than what was written, whatever it names."""

import re

from hypothesis import given
from hypothesis import strategies as st

from app.store.database.sql_text import LONGEST_NAME, block, comment, fitted, identifier, literal

_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@given(st.lists(_TEXTS, min_size=1, max_size=3))
def test_a_sentence_is_one_line_of_comment(sentences: list[str]) -> None:
    lines = comment(*sentences).split("\n")
    assert len(lines) == len(sentences)
    assert all(line.startswith("-- ") and line.isprintable() for line in lines)


@given(_TEXTS)
def test_a_name_and_a_value_are_on_one_line_and_keep_what_they_hold(text: str) -> None:
    name, value = identifier(text), literal(text)
    assert name.isprintable()
    assert value.isprintable()
    if text.isprintable():
        assert name[1:-1].replace('""', '"') == text


@given(_TEXTS, _TEXTS)
def test_what_a_block_holds_does_not_end_it(first: str, second: str) -> None:
    written = block(first, f"$$ {second} $q$ $qq$")
    quotes = re.match(r"DO (\$q*\$)\n", written)
    assert quotes is not None
    assert written.count(quotes[1]) == 2
    assert written.endswith(f"{quotes[1]};")


@given(_TEXTS, _TEXTS)
def test_a_name_that_is_made_fits_and_differs_where_its_beginning_does_not(
    first: str, second: str
) -> None:
    made = [fitted(f"{'x' * LONGEST_NAME}{each}", "rows") for each in (first, second)]
    assert all(len(name.encode()) <= LONGEST_NAME and name.endswith("_rows") for name in made)
    assert (made[0] == made[1]) == (first == second)
