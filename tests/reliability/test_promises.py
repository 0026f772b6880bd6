"""Every promise names existing tests, and the page matches the table."""

import pytest

from tests.reliability.promises import PAGE, SECTIONS, functions_of, page

PROMISES = [each for promises in SECTIONS.values() for each in promises]


@pytest.mark.parametrize("each", PROMISES, ids=lambda each: each.text[:60])
def test_tests_of_a_promise_exist(each):
    assert each.tests
    for test in each.tests:
        path, _, name = test.partition("::")
        assert name in functions_of(path), test


def test_no_promise_is_listed_twice():
    texts = [each.text for each in PROMISES]
    assert len(set(texts)) == len(texts)


def test_page_matches_the_table():
    assert PAGE.read_text() == page(), "run python -m tests.reliability"
