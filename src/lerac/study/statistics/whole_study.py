"""All statistics of a study at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lerac.study.errors import StudyError
from lerac.study.metrics import Metric
from lerac.study.statistics.analysis import Analysis, Cell, Pooled
from lerac.study.statistics.exact_tests import ALPHA, Evidence, fewest_seeds, gather, holm, smallest_p
from lerac.study.statistics.networks import Disagreement, compare_networks
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.pooling import pool, probability_of_improvement
from lerac.study.statistics.seeds_needed import POWER, Outlook, outlook
from lerac.study.statistics.summary import BASELINE, BySeed, Summary, failures, summarise
from lerac.study.statistics.verdicts import about_baseline, p_text, seeds_text, verdict

__all__ = ["analyse", "choose_baseline"]


@dataclass(frozen=True)
class _Table:
    """What came out of one experiment: regime → seed → value, as `summarise` takes it.

    Args:
        experiment: which.
        metric: what the values are.
        measured: on the split that is asked about.
        validation: on the validation split.
        failed: regime → seeds that an error stopped.
    """

    experiment: str
    metric: Metric
    measured: Mapping[str, BySeed]
    validation: Mapping[str, BySeed]
    failed: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], split: str) -> "_Table":
        by_regime: dict[str, dict[int, Outcome]] = {}
        for outcome in outcomes:
            by_seed = by_regime.setdefault(outcome.regime, {})
            if outcome.seed in by_seed:
                raise StudyError(f"{outcome} is there twice")
            if outcome.state == "done" and outcome.value(split) is None:
                there = ", ".join(f"{at} {name}" for at, values in outcome.values.items() for name in values)
                raise StudyError(f"{outcome} has no {split} {outcome.metric.name}, only {there or 'nothing'}")
            by_seed[outcome.seed] = outcome

        def values(of: str) -> dict[str, BySeed]:
            return {regime: {seed: one.value(of) for seed, one in own.items()} for regime, own in by_regime.items()}

        failed = {regime: tuple(seed for seed, one in own.items() if one.failed) for regime, own in by_regime.items()}
        return cls(outcomes[0].experiment, outcomes[0].metric, values(split), values("validation"), failed)


def choose_baseline(regimes: Sequence[str], asked: str | None = None) -> str | None:
    """Give the regime to compare with: the one asked for, or `conventional`, or the only one with values of its own.

    Raises:
        StudyError: if the one asked for is not among the regimes.
    """
    if asked is None:
        if BASELINE in regimes:
            return BASELINE
        with_values = [regime for regime in regimes if regime.startswith(f"{BASELINE}(")]
        return with_values[0] if len(with_values) == 1 else None
    if asked not in regimes:
        raise StudyError(f"baseline {asked} is not among the regimes of the study: {', '.join(regimes)}")
    return asked


def analyse(
    outcomes: Sequence[Outcome],
    *,
    baseline: str | None = None,
    split: str = "test",
    claims: Mapping[str, float] | None = None,
    power: float = POWER,
    folders: Sequence[Path] = (),
) -> Analysis:
    """Compute all statistics of a study, finished or not.

    Args:
        outcomes: of all runs of the plan, those that have not ended included.
        baseline: canonical text of a regime; by default the one that `choose_baseline` gives; None: no comparison.
        split: `test` or `validation`.
        claims: metric name → difference that is to be shown, in the metric's own unit ({"accuracy": 0.01} is one
            point); where there is none, seeds are computed for a difference as large as the one measured.
        power: with which it is to be shown, in (0.05, 1).
        folders: of the study, to compare predictions; without any, networks are not compared.

    Raises:
        StudyError: if the baseline is not among the regimes, a claim is of a metric that no experiment has, a run has
            ended without its metric on that split, or kept predictions are damaged or not of the same test examples.
        ValueError: if a claim or the power is out of its range.
    """
    chosen = choose_baseline(list(dict.fromkeys(outcome.regime for outcome in outcomes)), baseline)
    experiments: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        experiments.setdefault(outcome.experiment, []).append(outcome)
    tables = [_Table.of(own, split) for own in experiments.values()]
    claims = _checked(claims or {}, tables)
    summaries = {table.experiment: summarise(table.measured, chosen) for table in tables}
    compared = [(name, one) for name, own in summaries.items() for one in own if chosen not in (None, one.regime)]
    weighed = gather([one.difference for _, one in compared])
    evidence = {(name, one.regime): found for (name, one), found in zip(compared, weighed, strict=True)}
    networks = compare_networks(outcomes, chosen, folders)
    cells = []
    for table in tables:
        own = summaries[table.experiment]
        base = next((one for one in own if one.regime == chosen), None)
        for one, validation in zip(own, summarise(table.validation, chosen), strict=True):
            key = (table.experiment, one.regime)
            claim = claims.get(table.metric.name)
            reach = None if one.difference is None else outlook(one.difference, len(compared), claim, power)
            cells.append(_cell(table, one, validation, base, evidence.get(key), reach, networks.get(key, ())))
    pooled = _pooled(tables, cells, chosen)
    notes = _notes(cells, chosen, len(compared))
    return Analysis(chosen, len(compared), tuple(cells), pooled, notes, claims, power)


def _checked(claims: Mapping[str, float], tables: Sequence[_Table]) -> Mapping[str, float]:
    known = sorted({table.metric.name for table in tables})
    if unknown := sorted(set(claims) - set(known)):
        raise StudyError(f"claim about {', '.join(unknown)}: the study measures {', '.join(known)}")
    return claims


def _cell(
    table: _Table,
    one: Summary,
    validation: Summary,
    base: Summary | None,
    evidence: Evidence | None,
    reach: Outlook | None,
    networks: tuple[Disagreement, ...],
) -> Cell:
    improvement, said = None, None
    if one is base:
        base, said = None, about_baseline(one)
    elif base is not None:
        improvement = probability_of_improvement(
            [(table.measured[one.regime], table.measured[base.regime])], table.metric
        )
        said = verdict(one, base.regime, table.metric, evidence)
    return Cell(
        experiment=table.experiment,
        metric=table.metric,
        summary=one,
        failures=failures(one, base),
        evidence=evidence,
        improvement=improvement,
        outlook=reach,
        networks=networks,
        verdict=said,
        validation=validation,
        failed=table.failed[one.regime],
    )


def _pooled(tables: Sequence[_Table], cells: Sequence[Cell], baseline: str | None) -> tuple[Pooled, ...]:
    if baseline is None:
        return ()
    measured = {table.experiment: table.measured for table in tables}
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.regime != baseline:
            groups.setdefault((cell.metric.name, cell.regime), []).append(cell)
    rows = []
    for (_, regime), group in groups.items():
        paired = {cell.experiment: cell.summary.difference for cell in group if cell.summary.difference}
        if len(paired) < 2:
            continue
        both = [(measured[name][regime], measured[name][baseline]) for name in paired]
        left_out = tuple(cell.experiment for cell in group if cell.experiment not in paired)
        improvement = probability_of_improvement(both, group[0].metric)
        rows.append(Pooled(regime, group[0].metric, tuple(paired), left_out, pool(list(paired.values())), improvement))
    adjusted = holm([row.difference.test.p for row in rows])
    return tuple(
        replace(row, difference=replace(row.difference, test=replace(row.difference.test, adjusted=p)))
        for row, p in zip(rows, adjusted, strict=True)
    )


def _notes(cells: Sequence[Cell], baseline: str | None, comparisons: int) -> tuple[str, ...]:
    if baseline is None:
        return (f"No comparison: {BASELINE} is not among the regimes; any of them can be made the baseline.",)
    notes = []
    n = max((cell.summary.difference.n for cell in cells if cell.summary.difference), default=0)
    if n and comparisons * smallest_p(n) > ALPHA:
        text = f"With {seeds_text(n)} no exact test (sign-flip, Wilcoxon) can go below {p_text(smallest_p(n))}"
        if comparisons > 1:
            text += f", or {p_text(min(1.0, comparisons * smallest_p(n)))} after Holm over {comparisons} comparisons"
        notes.append(f"{text}; {seeds_text(fewest_seeds(comparisons=comparisons))} can reach {ALPHA}.")
    if comparisons > 1:
        notes.append(f"p is adjusted over the {comparisons} comparisons of the study (Holm).")
    without = sum(cell.evidence is None or cell.evidence.p is None for cell in cells if cell.regime != baseline)
    if without and comparisons > 1:
        notes.append(f"Of these, {without} have no p: too few pairs of runs, or no spread. They count as p = 1.")
    return tuple(notes)
