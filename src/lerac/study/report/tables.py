"""The table of a study as rows: for the page, for a spreadsheet (table.csv) and for a paper (table.tex)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lerac.study.files import write_text
from lerac.study.metrics import Metric
from lerac.study.runs.comparison import Comparison
from lerac.study.runs.folder import csv_text
from lerac.study.statistics import CONFIDENCE, Cell, Summary, p_number

__all__ = ["PUBLISHED_RUNS", "Row", "table_csv", "table_rows", "table_tex", "write_summary"]

PUBLISHED_RUNS = 5  # behind each number of the paper's first version

COLUMNS = (
    *("recipe", "regime", "metric", "unit", "n", "mean", "sd"),
    *("difference", "low", "high", "pairs", "diverged", "failed", "not_ended", "published_mean", "published_sd"),
    *("baseline", "p", "p_holm", "sign_flip_p", "sign_flip_p_holm", "wilcoxon_p", "wilcoxon_p_holm"),
    *("improvement", "improvement_low", "improvement_high", "diverged_rate", "diverged_low", "diverged_high"),
    *("detectable", "claim", "seeds_needed"),
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


@dataclass(frozen=True)
class Row:
    """A regime of a recipe.

    Args:
        recipe: MODEL/DATASET.
        metric: what networks are judged by.
        baseline: with which it is compared; None if with nothing.
        cell: its statistics on the test split.
        validation: summary on the validation split in the chosen epochs.
        failed: seeds that an error stopped; the other missing ones have not ended yet.
        published: mean and standard deviation that the paper reports, in the metric's unit; None if it does not.
    """

    recipe: str
    metric: Metric
    baseline: str | None
    cell: Cell
    validation: Summary
    failed: tuple[int, ...]
    published: tuple[float, float] | None

    @property
    def test(self) -> Summary:
        """Summary on the test split."""
        return self.cell.summary

    @property
    def failures(self) -> int:
        """How many runs diverged or were stopped by an error."""
        return len(self.test.diverged) + len(self.failed)


def table_rows(comparison: Comparison) -> list[Row]:
    """Give the rows of one recipe, a regime each, in the study's order."""
    published = comparison.recipe.published
    rows = []
    for cell, validation in zip(comparison.cells, comparison.validation, strict=True):
        mean_sd = published.get(cell.regime)
        rows.append(
            Row(
                comparison.recipe.name,
                comparison.metric,
                comparison.baseline,
                cell,
                validation,
                comparison.failed(cell.regime),
                (mean_sd[0], mean_sd[1]) if mean_sd else None,
            )
        )
    return rows


def write_summary(folder: Path, comparisons: Sequence[Comparison]) -> None:
    """Write table.csv and table.tex: a row for every regime of every recipe."""
    rows = [row for comparison in comparisons for row in table_rows(comparison)]
    write_text(folder / "table.csv", table_csv(rows))
    write_text(folder / "table.tex", table_tex(rows))


def table_csv(rows: Sequence[Row]) -> str:
    """Write rows as CSV, in the unit that is shown, to six digits behind the point; what is not known is empty."""
    return csv_text(COLUMNS, [_cells(row) for row in rows])


def table_tex(rows: Sequence[Row]) -> str:
    r"""Write rows as a LaTeX tabular with booktabs' rules, to be used by `\input{table}`."""
    several = any(row.cell.evidence and row.cell.evidence.comparisons > 1 for row in rows)
    baseline = next((row.baseline for row in rows if row.baseline), "nothing")
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
    before = None
    for row in rows:
        if row.recipe != before:
            lines.append(r"\midrule")
        recipe = "" if row.recipe == before else f"{row.recipe}, {row.metric.title}, {row.metric.unit}"
        before = row.recipe
        lines.append(" & ".join((escape_tex(recipe), escape_tex(row.test.regime), *_tex_numbers(row))) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escape_tex(text: str) -> str:
    """Write text so that LaTeX shows it as it is."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def _cells(row: Row) -> list[object]:
    test, factor = row.test, row.metric.factor
    difference = test.difference
    shown = [test.mean, test.sd]
    shown += [difference.mean, difference.low, difference.high] if difference else [None] * 3
    numbers = [None if value is None else round(factor * value, 6) for value in shown]
    return [
        *(row.recipe, test.regime, row.metric.name, row.metric.unit, test.n, *numbers),
        *(difference.n if difference else None, len(test.diverged), len(row.failed)),
        *(len(test.missing) - len(row.failed), *(row.published or (None, None))),
        *(row.baseline, *_tested(row.cell), *_reached(row.cell)),
    ]


def _tested(cell: Cell) -> list[float | None]:
    found, improvement, failures = cell.evidence, cell.improvement, cell.failures
    numbers: list[float | None] = [None] * 6
    if found:
        numbers = [found.p, found.adjusted, found.sign_flip.p, found.sign_flip.adjusted]
        numbers += [found.wilcoxon.p, found.wilcoxon.adjusted]
    numbers += [improvement.probability, improvement.low, improvement.high] if improvement else [None] * 3
    return [*numbers, failures.rate, failures.low, failures.high]


def _reached(cell: Cell) -> list[float | int | None]:
    """Give the detectable difference, the one claimed, and the seeds needed for the latter."""
    if (reach := cell.outlook) is None:
        return [None] * 3
    factor, needed = cell.metric.factor, reach.needed if reach.claimed else None
    return [
        round(factor * reach.detectable, 6),
        round(factor * needed.difference, 6) if needed else None,
        needed.n if needed else None,
    ]


def _tex_numbers(row: Row) -> tuple[str, ...]:
    test, factor, difference = row.test, row.metric.factor, row.test.difference
    shift = "--"
    if difference:
        shift = f"${factor * difference.mean:+.2f}$"
        if difference.low is not None and difference.high is not None:
            shift += f" $[{factor * difference.low:+.2f}, {factor * difference.high:+.2f}]$"
    return (
        _tex_mean(test.mean, test.sd, factor),
        shift,
        _tex_p(row.cell),
        str(test.n),
        str(row.failures),
        _tex_mean(*row.published) if row.published else "--",
    )


def _tex_p(cell: Cell) -> str:
    if cell.evidence is None or cell.evidence.adjusted is None:
        return "--"
    return f"${p_number(cell.evidence.adjusted)}$"


def _tex_mean(mean: float | None, sd: float | None, factor: float = 1) -> str:
    if mean is None:
        return "--"
    return f"${factor * mean:.2f}$" if sd is None else rf"${factor * mean:.2f} \pm {factor * sd:.2f}$"
