"""Collects the rows that the tests are marked with, and writes docs/compatibility.md when asked to.

    @pytest.mark.compatible("row")                                  the row works, as the test shows
    @pytest.mark.compatible("row", does_not="reason from outside")  it does not, as the test shows

The page tells what a test compares with by its docstring's first paragraph, or else by its name, and of a row that does
not work the reason.
"""

import pytest

from tests.compatibility.helpers.page import COMMAND, HERE, PAGE, Shown, render

ROWS = pytest.StashKey[list[Shown]]()
PROPERTY = "compatibility"


def pytest_addoption(parser):
    parser.addoption("--write-compatibility", action="store_true", help=f"write docs/{PAGE.name} after a full run")


def pytest_configure(config):
    config.stash[ROWS] = []
    if not config.getoption("--write-compatibility", default=False) or hasattr(config, "workerinput"):
        return
    asked_for = [(config.invocation_params.dir / path).resolve() for path in config.args]
    if asked_for != [HERE] or config.option.keyword or config.option.markexpr:
        raise pytest.UsageError(f"the page needs every row: {COMMAND}")
    config.pluginmanager.register(Writer())


@pytest.hookimpl(tryfirst=True)  # before -k and the like deselect any
def pytest_collection_modifyitems(config, items):
    rows = config.stash[ROWS]
    for item in items:
        if item.path.parent == HERE and (marker := item.get_closest_marker("compatible")):
            xfail = item.get_closest_marker("xfail")
            reason = marker.kwargs.get("does_not") or (xfail and xfail.kwargs["reason"])
            rows.append(Shown(item.path.name, marker.args[0], _told(item.function), reason))
            item.user_properties.append((PROPERTY, (len(rows), *rows[-1])))
    if config.getoption("--write-compatibility", default=False):  # what will be written is not yet on the page
        items[:] = [item for item in items if item.path.name != "test_page.py"]


@pytest.fixture
def rows(request):
    """What all the collected tests show."""
    return request.config.stash[ROWS]


class Writer:
    """Writes the page from the tests' reports, which with pytest-xdist come from other processes in any order."""

    def __init__(self):
        self.reported = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.reported += [told for name, told in report.user_properties if name == PROPERTY]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session, exitstatus):
        if exitstatus == pytest.ExitCode.OK:  # what fails here is an error, not a row
            PAGE.write_text(render(Shown(*told) for _, *told in sorted(self.reported)))


def _told(test):
    if test.__doc__:
        return test.__doc__.strip().split("\n\n")[0].removesuffix(".")
    return test.__name__.removeprefix("test_").replace("_", " ")
