"""Why the runs of an experiment cannot be compared seed by seed, as far as anybody could see."""

from collections.abc import Iterator, Mapping, Sequence

from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.verdicts import seed_ranges

__all__ = ["why_not_paired"]

UNSEEN = "could not be checked"
STEPS = "steps"  # of which a run that diverged has fewer


def why_not_paired(outcomes: Sequence[Outcome], baseline: str | None = None) -> str | None:
    """Say what tells runs of a seed apart beside their regime, of which regimes and seeds; None if nothing does.

    What could not be seen counts as different: nobody knows. Runs that have not ended are not looked at, nor those that
    are paired by construction (`Outcome.pairing` is None).

    Args:
        outcomes: of one experiment.
        baseline: regime from which the others differ; where a seed has no run of it, its first run is.
    """
    ended = [one for one in outcomes if one.ended and one.pairing is not None]
    blind = [one for one in ended if not any(_seen(one).values())]
    seeing = [one for one in ended if one not in blind]
    found = []
    if blind:
        where = "" if len(blind) == len(outcomes) else _where(blind)
        found.append(f"{UNSEEN}, no lerac.attach in sight{where}")
    for what in dict.fromkeys(key for one in seeing for key in _seen(one)):
        compared = [one for one in seeing if not (what == STEPS and one.diverged)]
        if unseen := [one for one in compared if _seen(one).get(what) is None]:
            found.append(f"{what} {UNSEEN}{_where(unseen)}")
        if different := list(_different(what, compared, baseline)):
            found.append(f"{what} {'differ' if what.endswith('s') else 'differs'}{_where(different)}")
    return "; ".join(found) or None


def _seen(outcome: Outcome) -> Mapping[str, str | None]:
    return outcome.pairing or {}


def _different(what: str, outcomes: Sequence[Outcome], baseline: str | None) -> Iterator[Outcome]:
    """Give the runs whose value is another than that of their seed's run of the baseline."""
    by_seed: dict[int, list[Outcome]] = {}
    for one in outcomes:
        if _seen(one).get(what) is not None:
            by_seed.setdefault(one.seed, []).append(one)
    for own in by_seed.values():
        reference = next((one for one in own if one.regime == baseline), own[0])
        yield from (one for one in own if _seen(one)[what] != _seen(reference)[what])


def _where(outcomes: Sequence[Outcome]) -> str:
    """Name regimes and seeds in brackets; regimes with the same seeds share them."""
    seeds: dict[str, list[int]] = {}
    for one in outcomes:
        seeds.setdefault(one.regime, []).append(one.seed)
    regimes: dict[str, list[str]] = {}
    for regime, own in seeds.items():
        word = "seed" if len(own) == 1 else "seeds"
        regimes.setdefault(f"{word} {seed_ranges(own)}", []).append(regime)
    named = "; ".join(f"{', '.join(names)}: {which}" for which, names in regimes.items())
    return f" ({named})"
