"""Writes docs/evidence.md and its figures from results/*.csv: `python evidence/write.py`. Trains nothing."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from lerac.study.figures import STYLE
from lerac.study.statistics import Difference, seeds_needed
from measured import Answer, Values, canonical, compared, hypotheses, read
from questions import GRIDS, HERE, evaluation, read_chosen, tuning
from train import LEDGER

DOCS = HERE.parent / "docs"
NAMES = {
    "conventional": "conventional",
    "warmup": "linear warm-up",
    "warmup-exponential": "exponential warm-up",
    "cbs": "CBS",
    "lerac": "LeRaC",
    "lerac-reversed": "reversed LeRaC",
    "lerac-shuffled": "shuffled LeRaC",
}


def main() -> None:
    """Write figures, then the page."""
    answers = hypotheses()
    primary = {**read("primary"), **read("primary-controls")}
    chosen = {name: canonical(read_chosen()[f"tuning-{name}"]) for name in GRIDS}
    differences = compared(primary, chosen["conventional"])
    write(forest({NAMES[n]: differences[r] for n, r in chosen.items() if r in differences}), "evidence-primary")
    sweeps: dict[str, list[float]] = {"k": [1, 2, 3, 5, 7, 10, 15], "ratio": [10.0**-n for n in range(2, 9)]}
    for swept, values in sweeps.items():
        found = list(compared(read(swept), chosen["conventional"]).values())
        write(sweep(swept, values, found), f"evidence-{swept}")
    words = {
        "TUNING": tuning_table(),
        "ANSWERS": answers_table(answers),
        "SENTENCES": "\n".join(f"- **{a.name}: {a.verdict}.** {sentence(a)}" for a in answers),
        "PRIMARY": regimes_table(
            primary, {regime: NAMES[name] for name, regime in chosen.items()}, chosen["conventional"]
        ),
        "SEEDS": seeds_sentence(answers),
        "COMMANDS": commands(),
        "CORE_MINUTES": f"{core_minutes():.0f}",
    }
    for study in evaluation(read_chosen()):
        if not study.name.startswith("primary"):
            words[study.name.upper()] = regimes_table(read(study.name), {}, canonical(study.regimes[0]))
    page = (HERE / "evidence.md.in").read_text(encoding="utf-8")
    for word, text in words.items():
        page = page.replace(f"@{word}@", text)
    (DOCS / "evidence.md").write_text(page, encoding="utf-8")
    (HERE / "results" / "answers.json").write_text(
        json.dumps({a.name: {"verdict": a.verdict, **summary(a)} for a in answers}, indent=2) + "\n", encoding="utf-8"
    )


def answers_table(answers: list[Answer]) -> str:
    """Give a row per hypothesis."""
    rows = ["| | difference in points | n | p | adjusted p | |", "|---|---|---|---|---|---|"]
    for a in answers:
        rows.append(
            f"| {a.name} | {text_of(a.difference)} | {a.difference.n} | {a.p:.2g} | {a.adjusted:.2g} | {a.verdict} |"
        )
    return "\n".join(rows)


def sentence(answer: Answer) -> str:
    """Say in one sentence what came out."""
    return (
        f"{answer.claim}? LeRaC minus the other: {text_of(answer.difference)} points over {answer.difference.n} pairs."
    )


def regimes_table(values: Values, names: Mapping[str, str], baseline: str) -> str:
    """Give mean ± standard deviation and the paired difference to a baseline, a row per regime."""
    differences = compared(values, baseline)
    rows = ["| regime | accuracy in % | difference in points | n |", "|---|---|---|---|"]
    for regime, of_seeds in sorted(values.items(), key=lambda item: item[0] != baseline):
        shown = f"{names[regime]}: `{regime}`" if regime in names else f"`{regime}`"
        mean = sum(of_seeds.values()) / len(of_seeds)
        sd = (sum((v - mean) ** 2 for v in of_seeds.values()) / (len(of_seeds) - 1)) ** 0.5
        difference = text_of(differences[regime]) if regime in differences else "–"
        rows.append(f"| {shown} | {mean:.2f} ± {sd:.2f} | {difference} | {len(of_seeds)} |")
    return "\n".join(rows)


def tuning_table() -> str:
    """Give what was chosen for each regime, with its mean validation accuracy and that of the worst configuration."""
    chosen = read_chosen()
    rows = ["| tuned | tries | chosen | validation accuracy in %: best | median | worst |", "|---|---|---|---|---|---|"]
    for study in tuning():
        values = read(study.name, split="validation")
        means = sorted(sum(v.values()) / len(v) for v in values.values())
        best = chosen[study.name]
        name = NAMES.get(study.name.removeprefix("tuning-"), study.name.removeprefix("tuning-"))
        row = (
            name,
            len(means),
            f"`{canonical(best)}`",
            f"{means[-1]:.2f}",
            f"{means[len(means) // 2]:.2f}",
            f"{means[0]:.2f}",
        )
        rows.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(rows)


def seeds_sentence(answers: list[Answer]) -> str:
    """Say how many pairs the difference of interest needs, from the spread that was measured."""
    second = next(a for a in answers if a.name == "H2").difference
    needed = seeds_needed(0.25, second.sd or 0.0)
    return f"{second.sd:.2f} points, with which a difference of 0.25 needs {needed.n} pairs for a power of 0.8"


def commands() -> str:
    """Give the commands, as they can be typed."""
    studies = [*tuning(), *evaluation(read_chosen())]
    lines = []
    for study in studies:
        words = study.command(Path("runs/evidence"), Path("evidence/recipes"))
        lines.append("    lerac " + " ".join(f'"{w}"' if "(" in w else w for w in words))
    return "\n".join(lines)


def core_minutes() -> float:
    """Give the processor time of everything."""
    with LEDGER.open(encoding="utf-8") as file:
        return sum(float(row["core_seconds"]) for row in csv.DictReader(file)) / 60


def text_of(difference: Difference) -> str:
    """Write mean and interval."""
    return f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"


def summary(answer: Answer) -> dict[str, float | int | None]:
    """Give the numbers of an answer."""
    d = answer.difference
    return {"mean": d.mean, "low": d.low, "high": d.high, "n": d.n, "p": answer.p, "adjusted_p": answer.adjusted}


def forest(differences: Mapping[str, Difference]) -> Figure:
    """Draw differences to conventional training with their intervals, a row per regime."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for row, (name, d) in enumerate(reversed(list(differences.items()))):
        axes.plot([d.low or d.mean, d.high or d.mean], [row, row], color="C0", linewidth=2)
        axes.plot([d.mean], [row], "o", color="C0")
        axes.annotate(
            f"{name} (n = {d.n})",
            (0, row),
            xycoords=("axes fraction", "data"),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
        )
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_yticks([])
    axes.set_xlabel("test accuracy minus that of conventional training, in points, with 95 % interval")
    return figure


def sweep(what: str, values: list[float], differences: list[Difference]) -> Figure:
    """Draw the difference to conventional training against a value of LeRaC."""
    figure = Figure(figsize=(4.4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    means = [d.mean for d in differences]
    reach = [
        [m - (d.low or m) for m, d in zip(means, differences, strict=True)],
        [(d.high or m) - m for m, d in zip(means, differences, strict=True)],
    ]
    axes.errorbar(values, means, yerr=reach, fmt="o-", capsize=3)
    axes.axhline(0, color="0.5", linewidth=0.8)
    if what == "ratio":
        axes.set_xscale("log")
    axes.set_xlabel({"k": "k in epochs", "ratio": "ratio"}[what])
    axes.set_ylabel("difference in points")
    return figure


def write(figure: Figure, name: str) -> None:
    """Write a figure below docs."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(DOCS / "images" / f"{name}.svg", format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
