"""How the fuzz tests run: a few cases that are always the same, and in the slow suite many at random."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# A case that takes longer hangs: those that compile take some seconds, many where other work is done beside them.
LONGEST = timedelta(minutes=5)


def few_and_many(few: int, many: int):
    """The parameter `cases` of a fuzz test: `few`, and in the slow suite `many`."""
    return pytest.mark.parametrize(
        "cases", [pytest.param((few, True), id="few"), pytest.param((many, False), id="many", marks=pytest.mark.slow)]
    )


def fuzz(cases: tuple[int, bool], check, *strategies) -> None:
    """Calls `check` with a number of drawn cases; a failure reports the smallest case that fails."""
    count, always_the_same = cases
    rules = settings(
        max_examples=count,
        derandomize=always_the_same,
        deadline=LONGEST,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    # Hypothesis would otherwise take the parameters of `check` for fixtures.
    def case(drawn):
        check(*drawn)

    rules(given(st.tuples(*strategies))(case))()


def damaged(content: bytes):
    """Strategy for bytes like `content` with some flipped, cut off, put in between, or for any bytes at all."""
    place = st.integers(0, len(content))

    def changed(edits):
        data = bytearray(content)
        for at, cut, more in edits:
            data[at : at + cut] = more
        return bytes(data)

    edits = st.lists(st.tuples(place, st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4)
    return edits.map(changed) | place.map(lambda end: content[:end]) | st.binary(max_size=300)
