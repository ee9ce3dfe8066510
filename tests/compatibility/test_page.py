"""The page cannot rot: it lists the rows that the tests have, no more and no fewer."""

from tests.compatibility.helpers.page import COMMAND, PAGE, rows_of_page, rows_of_tests, sections


def test_the_page_lists_exactly_the_rows_of_the_tests(rows):
    page, shown = rows_of_page(PAGE.read_text()), rows_of_tests(rows)
    assert {section for section, _ in page} == {file.stem.removeprefix("test_") for file in sections()}, COMMAND
    collected = {section for section, _ in shown}  # of a run of single files only their sections are compared
    assert {row for row in page if row[0] in collected} == shown, f"write the page anew: {COMMAND}"
