"""Figures are written in every format that is offered, and the same figure gives the same file."""

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from lerac.study.errors import StudyError
from lerac.study.figures.style import check_plot_file, svg, write_figure


def a_figure() -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2], label="σ")
    return figure


def kinds() -> list[str]:
    with pytest.raises(StudyError) as refused:
        check_plot_file(Path("a.txt"))
    return re.findall(r"\.(\w+)", str(refused.value).partition("one of")[2])


def test_every_format_that_is_offered_is_written(tmp_path):
    assert {"svg", "png", "pdf"} <= set(kinds())
    for kind in kinds():
        path = tmp_path / f"a.b.{kind.upper()}"
        check_plot_file(path)
        write_figure(a_figure(), path)
        assert path.stat().st_size > 100
    assert {path.name for path in tmp_path.iterdir()} == {f"a.b.{kind.upper()}" for kind in kinds()}


def test_the_same_figure_gives_the_same_file(tmp_path, monkeypatch):
    written = []
    for second in ("1", "999999999"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", second)  # what files that know a date would have in them
        paths = [tmp_path / f"{second}.{kind}" for kind in ("svg", "png", "pdf")]
        for path in paths:
            write_figure(a_figure(), path)
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]
    assert written[0][0] == svg(a_figure()).encode()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.pgf", "the name must end in one of"),
        ("a", "the name must end in one of"),
        ("no/a.svg", "there is no folder no"),
    ],
)
def test_where_no_figure_can_be_written(name, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=rf"^--plot {re.escape(name)}: .*{says}"):
        check_plot_file(Path(name))
