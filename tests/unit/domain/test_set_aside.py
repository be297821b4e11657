"""Rows that were set aside are told once, however many reads brought them."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.accounts.set_aside import SetAside

_READS = st.lists(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12), min_size=1, max_size=6
)


@given(_READS)
def test_of_a_key_the_most_rows_count_that_one_read_had(reads: list[list[str]]) -> None:
    whole = SetAside()
    for keys in reads:
        read = SetAside()
        read.add("raw_metrics_daily", "too long", keys)
        whole.take_in(read)
    rows = sum(
        max(keys.count(key) for keys in reads) for key in {key for keys in reads for key in keys}
    )
    others = "" if rows == 1 else f" and {rows - 1} other row{'s' if rows > 2 else ''}"
    assert whole.sentences() == [f"raw_metrics_daily {reads[0][0]}{others}: too long"]


def test_reasons_and_tables_are_told_apart_and_one_may_be_without_rows() -> None:
    found = SetAside()
    assert not found
    found.add("raw_metrics_daily", "too long", ["a"])
    found.add("raw_metrics_hourly", "too long", ["a", "b"])
    found.add("raw_metrics_daily", "lets no row go: locked", ())
    assert found
    assert found.sentences() == [
        "raw_metrics_daily a: too long",
        "raw_metrics_hourly a and 1 other row: too long",
        "raw_metrics_daily lets no row go: locked",
    ]
