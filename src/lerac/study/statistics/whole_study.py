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
from lerac.study.statistics.pairing.reasons import why_not_paired
from lerac.study.statistics.pairing.welch import unpaired_difference
from lerac.study.statistics.pooling import pool, probability_of_improvement, unpaired_improvement
from lerac.study.statistics.seeds_needed import POWER, Outlook, outlook
from lerac.study.statistics.summary import (
    BASELINE,
    BySeed,
    Compare,
    Summary,
    failures,
    paired_difference,
    summarise,
)
from lerac.study.statistics.verdicts import about_baseline, about_seeds, p_text, seeds_text, verdict

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
        not_paired: why runs are not compared seed by seed; None if they are.
    """

    experiment: str
    metric: Metric
    measured: Mapping[str, BySeed]
    validation: Mapping[str, BySeed]
    failed: Mapping[str, tuple[int, ...]]
    not_paired: str | None

    @property
    def compare(self) -> Compare:
        return unpaired_difference if self.not_paired else paired_difference

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], split: str, baseline: str | None) -> "_Table":
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
        first, reason = outcomes[0], why_not_paired(outcomes, baseline)
        return cls(first.experiment, first.metric, values(split), values("validation"), failed, reason)


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
    tables = [_Table.of(own, split, chosen) for own in experiments.values()]
    claims = _checked(claims or {}, tables)
    not_paired = {table.experiment: table.not_paired for table in tables if table.not_paired}
    summaries = {table.experiment: summarise(table.measured, chosen, table.compare) for table in tables}
    compared = [(name, one) for name, own in summaries.items() for one in own if chosen not in (None, one.regime)]
    weighed = gather([one.difference for _, one in compared])
    evidence = {(name, one.regime): found for (name, one), found in zip(compared, weighed, strict=True)}
    networks = compare_networks([one for one in outcomes if one.experiment not in not_paired], chosen, folders)
    cells = []
    for table in tables:
        own = summaries[table.experiment]
        base = next((one for one in own if one.regime == chosen), None)
        for one, validation in zip(own, summarise(table.validation, chosen, table.compare), strict=True):
            key = (table.experiment, one.regime)
            claim = claims.get(table.metric.name)
            reach = None if one.difference is None else outlook(one.difference, len(compared), claim, power)
            cells.append(_cell(table, one, validation, base, evidence.get(key), reach, networks.get(key, ())))
    pooled = _pooled(tables, cells, chosen)
    notes = _notes(cells, chosen, len(compared))
    warnings = {name: said for name, own in summaries.items() if (said := _warnings(name, own, not_paired))}
    return Analysis(chosen, len(compared), tuple(cells), pooled, notes, claims, power, not_paired, warnings)


def _warnings(name: str, summaries: Sequence[Summary], not_paired: Mapping[str, str]) -> tuple[str, ...]:
    """Say what the numbers of an experiment cannot show, whatever they are."""
    equal, why = about_seeds(summaries), not_paired.get(name)
    unpaired = why and (
        f"{name}, not paired: {why}. So its differences are those of the means of all runs, with Welch's interval "
        "and a permutation test of labels."
    )
    return tuple(said for said in (unpaired, equal) if said)


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
        both = table.measured[one.regime], table.measured[base.regime]
        if table.not_paired:
            improvement = unpaired_improvement(*both, table.metric)
        else:
            improvement = probability_of_improvement([both], table.metric)
        said = verdict(one, base.regime, table.metric, evidence)
    return Cell(
        experiment=table.experiment,
        metric=table.metric,
        summary=one,
        failures=failures(one, base, paired=not table.not_paired),
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
        found = {cell.experiment: cell.summary.difference for cell in group if cell.summary.difference}
        paired = {name: difference for name, difference in found.items() if difference.paired}
        if len(paired) < 2:
            continue
        metric, not_paired = group[0].metric, tuple(name for name in found if name not in paired)
        both = [(measured[name][regime], measured[name][baseline]) for name in paired]
        left_out = tuple(cell.experiment for cell in group if cell.experiment not in found)
        improvement = probability_of_improvement(both, metric)
        difference = pool(list(paired.values()))
        rows.append(Pooled(regime, metric, tuple(paired), left_out, difference, improvement, not_paired))
    adjusted = holm([row.difference.test.p for row in rows])
    return tuple(
        replace(row, difference=replace(row.difference, test=replace(row.difference.test, adjusted=p)))
        for row, p in zip(rows, adjusted, strict=True)
    )


def _notes(cells: Sequence[Cell], baseline: str | None, comparisons: int) -> tuple[str, ...]:
    if baseline is None:
        return (f"No comparison: {BASELINE} is not among the regimes; any of them can be made the baseline.",)
    notes = _out_of_reach(cells, comparisons, paired=True) + _out_of_reach(cells, comparisons, paired=False)
    if comparisons > 1:
        notes.append(f"p is adjusted over the {comparisons} comparisons of the study (Holm).")
    without = sum(cell.evidence is None or cell.evidence.p is None for cell in cells if cell.regime != baseline)
    if without and comparisons > 1:
        notes.append(f"Of these, {without} have no p: too few pairs of runs, or no spread. They count as p = 1.")
    return tuple(notes)


def _out_of_reach(cells: Sequence[Cell], comparisons: int, *, paired: bool) -> list[str]:
    """Say that so few seeds show nothing by an exact test, if that is so of the comparison that has most of them."""
    found = [cell.summary.difference for cell in cells]
    n = max((one.n for one in found if one and one.paired is paired), default=0)
    least = smallest_p(n, paired=paired)
    if not n or comparisons * least <= ALPHA:
        return []
    which, whose = ("sign-flip, Wilcoxon", "") if paired else ("permutation of labels", " of each regime, not paired,")
    text = f"With {seeds_text(n)}{whose} no exact test ({which}) can go below {p_text(least)}"
    if comparisons > 1:
        text += f", or {p_text(min(1.0, comparisons * least))} after Holm over {comparisons} comparisons"
    return [f"{text}; {seeds_text(fewest_seeds(comparisons=comparisons, paired=paired))} can reach {ALPHA}."]
