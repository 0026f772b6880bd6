"""Every promise names tests that exist, and the page is that of the table."""

import pytest

from tests.reliability.promises import PAGE, SECTIONS, functions_of, page

PROMISES = [each for promises in SECTIONS.values() for each in promises]


@pytest.mark.parametrize("each", PROMISES, ids=lambda each: each.text[:60])
def test_the_tests_of_a_promise_exist(each):
    assert each.tests
    for test in each.tests:
        path, _, name = test.partition("::")
        assert name in functions_of(path), test


def test_no_promise_stands_twice():
    texts = [each.text for each in PROMISES]
    assert len(set(texts)) == len(texts)


def test_the_page_is_generated_from_the_table():
    assert PAGE.read_text() == page(), "run python -m tests.reliability"
