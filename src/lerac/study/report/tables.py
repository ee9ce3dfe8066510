"""The table of a study as rows: for the page, for a spreadsheet (table.csv) and for a paper (table.tex)."""

from collections.abc import Sequence
from pathlib import Path

from lerac.regimes.text import OPTIONS, Regime
from lerac.study.errors import StudyError
from lerac.study.files import write_text
from lerac.study.recipes.regimes import parse_regime
from lerac.study.runs.comparison import Comparison
from lerac.study.runs.folder import csv_text
from lerac.study.statistics.analysis import Cell
from lerac.study.statistics.pairing.student import CONFIDENCE
from lerac.study.statistics.verdicts import p_number

__all__ = ["PUBLISHED_RUNS", "table_csv", "table_rows", "table_tex", "write_summary"]

PUBLISHED_RUNS = 5  # behind each number of the paper's first version

COLUMNS = (
    *("recipe", "regime", "metric", "unit", "n", "mean", "sd"),
    *("difference", "low", "high", "pairs", "diverged", "failed", "not_ended", "published_mean", "published_sd"),
    *("baseline", "p", "p_holm", "sign_flip_p", "sign_flip_p_holm", "wilcoxon_p", "wilcoxon_p_holm"),
    *("improvement", "improvement_low", "improvement_high", "diverged_rate", "diverged_low", "diverged_high"),
    *("detectable", "claim", "seeds_needed", "differs", "labels_p", "labels_p_holm", "not_paired"),
)

# What LaTeX reads as a command. "<" and ">" are other signs in its oldest font encoding.
_SPECIAL = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def write_summary(folder: Path, comparisons: Sequence[Comparison]) -> None:
    """Write table.csv and table.tex: a row for every regime of every recipe."""
    write_text(folder / "table.csv", table_csv(comparisons))
    write_text(folder / "table.tex", table_tex(comparisons))


def table_csv(comparisons: Sequence[Comparison]) -> str:
    """Write the table as CSV, in the unit that is shown, to six digits behind the point; what is not known is empty."""
    rows = table_rows(comparisons)
    return csv_text([*(rows[0] if rows else COLUMNS)], [list(row.values()) for row in rows])


def table_rows(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """Give the table, a dict per regime of every experiment, as table.csv has it.

    If regimes have options, it ends with `name` and a column for each of the options that any of them has.
    """
    regimes = {cell.regime: _read(cell.regime) for one in comparisons for cell in one.cells}
    used = [key for key in OPTIONS if any(regime and key in regime.options for regime in regimes.values())]
    rows = []
    for comparison, cell in ((one, cell) for one in comparisons for cell in one.cells):
        row, regime = dict(zip(COLUMNS, _cells(comparison, cell), strict=True)), regimes[cell.regime]
        if used:
            row |= {"name": regime and regime.name, **{key: regime and regime.options.get(key) for key in used}}
        rows.append(row)
    return rows


def _read(text: str) -> Regime | None:
    """Read a regime; None if it is none of ours but the name of an arm, or of numbers from elsewhere."""
    try:
        return parse_regime(text)
    except StudyError:
        return None


def table_tex(comparisons: Sequence[Comparison]) -> str:
    r"""Write the table as a LaTeX tabular with booktabs' rules, to be used by `\input{table}`."""
    several = any(cell.evidence and cell.evidence.comparisons > 1 for one in comparisons for cell in one.cells)
    baseline = next((one.baseline for one in comparisons if one.baseline), "nothing")
    lines = [
        r"% Needs \usepackage{booktabs}. Mean \pm standard deviation over seeds; in brackets the "
        rf"{100 * CONFIDENCE:.0f} \% interval",
        rf"% of the mean paired difference to {baseline} (Student's t), in points where the test is in \%.",
        f"% p: of the paired t-test{', adjusted by Holm over all comparisons of the study' if several else ''}.",
        rf"% Paper: mean \pm standard deviation of {PUBLISHED_RUNS} runs, first version; its authors' code selects the "
        "epoch on test data.",
        r"\begin{tabular}{llrrrrrr}",
        r"\toprule",
        r"Recipe & Regime & Test & Difference & $p$ & $n$ & Failures & Paper \\",
    ]
    for one in comparisons:
        lines.append(r"\midrule")
        for cell in one.cells:
            first = f"{one.experiment.name}, {one.metric.heading}" if cell is one.cells[0] else ""
            numbers = _tex_numbers(cell, one.experiment.published.get(cell.regime))
            lines.append(" & ".join((escape_tex(first), escape_tex(cell.regime), *numbers)) + r" \\")
        beside = (
            [f"Differences of means, Welch's interval and p; not paired: {one.not_paired}."] if one.not_paired else []
        )
        beside += one.beside
        lines += [rf"\multicolumn{{8}}{{p{{0.9\linewidth}}}}{{{escape_tex(text)}}}\\" for text in beside]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escape_tex(text: str) -> str:
    """Write text so that LaTeX shows it as it is."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def _cells(comparison: Comparison, cell: Cell) -> list[object]:
    test, metric, failed = cell.summary, cell.metric, len(cell.failed)
    labels = cell.evidence.labels if cell.evidence else None
    difference, published = test.difference, comparison.experiment.published.get(cell.regime)
    shown = [test.mean, test.sd]
    shown += [difference.mean, difference.low, difference.high] if difference else [None] * 3
    numbers = [None if value is None else round(metric.scale * value, 6) for value in shown]
    return [
        *(cell.experiment, test.regime, metric.name, metric.unit, test.n, *numbers),
        *(
            difference.n if difference and difference.paired else None,
            len(test.diverged),
            failed,
            len(test.missing) - failed,
        ),
        *(published or (None, None)),
        *(comparison.baseline, *_tested(cell), *_reached(cell), "; ".join(comparison.differs)),
        *(labels.p if labels else None, labels.adjusted if labels else None, comparison.not_paired),
    ]


def _tested(cell: Cell) -> list[float | None]:
    found, improvement, failures = cell.evidence, cell.improvement, cell.failures
    numbers: list[float | None] = [None] * 6
    if found:
        numbers = [found.p, found.adjusted]
        for test in (found.sign_flip, found.wilcoxon):
            numbers += [test.p, test.adjusted] if test else [None] * 2
    numbers += [improvement.probability, improvement.low, improvement.high] if improvement else [None] * 3
    return [*numbers, failures.rate, failures.low, failures.high]


def _reached(cell: Cell) -> list[float | int | None]:
    """Give the detectable difference, the one claimed, and the seeds needed for the latter."""
    if (reach := cell.outlook) is None:
        return [None] * 3
    scale, needed = cell.metric.scale, reach.needed if reach.claimed else None
    return [
        round(scale * reach.detectable, 6),
        round(scale * needed.difference, 6) if needed else None,
        needed.n if needed else None,
    ]


def _tex_numbers(cell: Cell, published: Sequence[float] | None) -> tuple[str, ...]:
    test, metric, difference = cell.summary, cell.metric, cell.summary.difference
    shift = "--"
    if difference:
        shift = f"${metric.change(difference.mean)}$"
        if difference.low is not None and difference.high is not None:
            shift += f" $[{metric.change(difference.low)}, {metric.change(difference.high)}]$"
    mean = "--" if test.mean is None else f"${metric.number(test.mean)}"
    if test.mean is not None:
        mean += "$" if test.sd is None else rf" \pm {metric.number(test.sd)}$"
    paper = rf"${published[0]:.2f} \pm {published[1]:.2f}$" if published else "--"
    failures = len(test.diverged) + len(cell.failed)
    return (mean, shift, _tex_p(cell), str(test.n), str(failures), paper)


def _tex_p(cell: Cell) -> str:
    if cell.evidence is None or cell.evidence.adjusted is None:
        return "--"
    return f"${p_number(cell.evidence.adjusted)}$"
