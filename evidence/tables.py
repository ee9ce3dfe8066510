"""The tables and sentences of docs/evidence.md, as Markdown, from results/*.csv."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median, stdev

from arithmetic import PINNED
from lerac.study.statistics import Difference, seeds_needed
from measured import LEVEL, OF_INTEREST, Answer, Values, canonical, compared, failed, read
from questions import ENVIRONMENTS, GRIDS, LEDGER, ROUNDING, Study, read_chosen, trained, tuning

__all__ = [
    "NAMES",
    "answers_table",
    "chosen_regimes",
    "commands",
    "core_minutes",
    "failures_sentence",
    "machine_sentence",
    "numbers",
    "primary_tables",
    "rounding_shares",
    "rounding_table",
    "secondary_table",
    "seeds_sentence",
    "sentence",
    "tuning_table",
]

NAMES = {
    "conventional": "conventional",
    "warmup": "linear warm-up",
    "warmup-exponential": "exponential warm-up",
    "cbs": "CBS",
    "lerac": "LeRaC",
    "lerac-reversed": "reversed LeRaC",
    "lerac-shuffled": "shuffled LeRaC",
}


def chosen_regimes() -> dict[str, str]:
    """Give each regime's name and how tables write what was chosen for it."""
    return {NAMES[name]: canonical(read_chosen()[f"tuning-{name}"]) for name in GRIDS}


def answers_table(answers: list[Answer]) -> str:
    """Give a row per hypothesis."""
    rows = [  # three decimals, since verdicts hang on ends of intervals
        "| | LeRaC minus | difference in points | pairs | p | adjusted p | the protocol calls it |",
        "|---|---|---|---|---|---|---|",
    ]
    for a in answers:
        cells = (
            a.name,
            NAMES[a.other],
            numbers(a.difference, digits=3),
            a.difference.n,
            f"{a.p:.2g}",
            f"{a.adjusted:.2g}",
            a.verdict,
        )
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def sentence(answer: Answer) -> str:
    """Say in one sentence what came out."""
    difference = answer.difference
    found = (
        f"{numbers(difference, digits=3)} points over {difference.n} pairs of runs, adjusted p {answer.adjusted:.2g}"
    )
    meaning = f", so {answer.meaning}" if answer.meaning else ""
    match answer.verdict:
        case "supported":
            return f"{answer.claim}{meaning}: {found}."
        case "supported, but too small to matter here":
            return f"{answer.claim}, but by less than the {OF_INTEREST} points that would matter here: {found}."
        case "refuted" if difference.mean < 0 and answer.adjusted < LEVEL:
            return f"It is the other way round than “{answer.claim}”: {found}."
        case "refuted":
            return f"It is not shown that {answer.claim}, and a gain of {OF_INTEREST} points is excluded: {found}."
        case "undecided":
            return f"It is not shown that {answer.claim}, and a gain of {OF_INTEREST} points is not excluded: {found}."


def primary_tables() -> tuple[str, str]:
    """Give the tables of the primary question: of the regimes with many seeds, and of all on the seeds they share."""
    many, controls = read("primary"), read("primary-controls")
    shared = set.intersection(*(set(of_seeds) for of_seeds in controls.values()))
    few = {regime: {seed: row[seed] for seed in sorted(shared)} for regime, row in {**many, **controls}.items()}
    names = {regime: f"{name}: `{regime}`" for name, regime in chosen_regimes().items()}
    return _regimes_table(many, names, [r for r in names if r in many], {}), _regimes_table(few, names, list(names), {})


def secondary_table(study: Study) -> str:
    """Give the table of a study, its regimes in the order in which they are asked."""
    order = [canonical(regime) for regime in study.regimes]
    return _regimes_table(read(study.name), {}, order, {r: len(seeds) for r, seeds in failed(study.name).items()})


def _regimes_table(values: Values, names: Mapping[str, str], order: list[str], failures: Mapping[str, int]) -> str:
    """Give means ± standard deviations and paired differences, a row per regime; the first is the baseline."""
    lerac = [regime for regime in order if regime.startswith("lerac(") and "depth=" not in regime]
    to_first = compared(values, order[0])
    to_lerac = compared(values, lerac[0]) if len(lerac) == 1 else {}
    rows = [
        f"| regime | accuracy in % | minus conventional{' | LeRaC minus it' if to_lerac else ''} | seeds |",
        f"|---|---|---|{'---|' if to_lerac else ''}---|",
    ]
    for regime in order:
        of_seeds = list(values[regime].values())
        cells = [names.get(regime, f"`{regime}`"), f"{fmean(of_seeds):.2f} ± {stdev(of_seeds):.2f}"]
        cells.append(numbers(to_first[regime]) if regime in to_first else "")
        if to_lerac:
            cells.append(numbers(to_lerac[regime], sign=-1) if regime in to_lerac else "")
        count = failures.get(regime, 0)
        cells.append(f"{len(of_seeds)}{f', {count} failed' if count else ''}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def tuning_table() -> str:
    """Give what was chosen for each regime, with its mean validation accuracy and that of the others."""
    chosen = read_chosen()
    rows = [
        "| tuned | tries | chosen | validation accuracy in %: chosen | median | worst |",
        "|---|---|---|---|---|---|",
    ]
    for study in tuning():
        values = read(study.name, split="validation")
        means = {regime: fmean(of_seeds.values()) for regime, of_seeds in values.items()}
        name, best = study.name.removeprefix("tuning-"), canonical(chosen[study.name])
        accuracies = (f"{mean:.2f}" for mean in (means[best], median(means.values()), min(means.values())))
        rows.append(f"| {' | '.join([NAMES.get(name, name), str(len(means)), f'`{best}`', *accuracies])} |")
    return "\n".join(rows)


def rounding_shares() -> dict[str, tuple[float, float]]:
    """Give for each ratio the percent of weights left unchanged: by all k steps, and of the last layer by step 0."""
    shares: dict[str, list[tuple[float, float]]] = {}
    with ROUNDING.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            pair = (float(row["unchanged"]), float(row["unchanged_last_layer_step_0"]))
            shares.setdefault(row["ratio"], []).append(pair)
    return {
        ratio: (100 * fmean(a for a, _ in pairs), 100 * fmean(b for _, b in pairs)) for ratio, pairs in shares.items()
    }


def rounding_table() -> str:
    """Give the share of updates that rounding loses, a column per ratio."""
    shares = rounding_shares()
    rows = [f"| ratio | {' | '.join(shares)} |", f"|---|{'---|' * len(shares)}"]
    rows.append(f"| all layers, mean over the curriculum | {' | '.join(f'{a:.1f} %' for a, _ in shares.values())} |")
    rows.append(f"| last layer, step 0 | {' | '.join(f'{b:.1f} %' for _, b in shares.values())} |")
    return "\n".join(rows)


def seeds_sentence(answers: list[Answer]) -> str:
    """Say how many pairs the difference of interest needs, from the spread that was measured."""
    second = next(a for a in answers if a.name == "H2").difference
    assert second.sd is not None
    needed = seeds_needed(OF_INTEREST, second.sd)
    return f"{second.sd:.2f} points, with which a difference of {OF_INTEREST} needs {needed.n} pairs for a power of 0.8"


def machine_sentence() -> str:
    """Say what the evaluation ran on.

    Raises:
        ValueError: if its studies ran on different ones, so that they cannot be compared.
    """
    known = json.loads(ENVIRONMENTS.read_text(encoding="utf-8"))
    found = {study.name: known[study.name] for study in trained()}
    one = found["primary"]
    if other := {name: environment for name, environment in found.items() if environment != one}:
        raise ValueError(f"primary ran on {one}, but other studies did not: {other}; train all of them on one machine")
    return f"{one['machine']}, {one['system']}, Python {one['python']}, torch {one['torch']}, lerac {one['lerac']}"


def failures_sentence() -> str:
    """Say which runs of the evaluation failed."""
    lost = [
        f"{study.name} `{regime}` seed {', '.join(map(str, seeds))}"
        for study in trained()
        for regime, seeds in failed(study.name).items()
        if seeds
    ]
    return f"Failed, and counted as 10 %: {'; '.join(lost)}." if lost else "No run of the evaluation failed."


def commands() -> str:
    """Give the commands, as they can be typed."""
    lines = []
    for study in [*tuning(), *trained()]:
        words = study.command(Path("runs/evidence"))
        lines.append("    lerac " + " ".join(f'"{w}"' if "(" in w else w for w in words))
    first = "    export " + " ".join(f"{name}={value}" for name, value in PINNED.items())
    return "\n".join([first, *lines])


def core_minutes() -> float:
    """Give the processor time of everything in the ledger."""
    with LEDGER.open(encoding="utf-8") as file:
        return sum(float(row["core_seconds"]) for row in csv.DictReader(file)) / 60


def numbers(difference: Difference, *, sign: int = 1, digits: int = 2) -> str:
    """Write mean and interval, in points."""
    low, high = difference.low, difference.high
    assert low is not None
    assert high is not None
    low, high = sorted((sign * low, sign * high))
    text = f"{sign * difference.mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
    return text.replace("-", "−")
