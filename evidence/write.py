"""Writes docs/evidence.md, its figures and results/answers.json from results/*.csv: `python evidence/write.py`."""

import json
import re
from collections.abc import Iterable

from matplotlib.figure import Figure

from lerac.study.figures.style import svg
from lerac.study.statistics import Difference, paired_difference
from measured import Answer, canonical, compared, hypotheses, read
from pictures import forest, sweeps
from questions import HERE, KS, RATIOS, RESULTS, trained
from tables import (
    answers_table,
    chosen_regimes,
    commands,
    core_minutes,
    failures_sentence,
    machine_sentence,
    numbers,
    primary_tables,
    rounding_shares,
    rounding_table,
    secondary_table,
    seeds_sentence,
    sentence,
    tuning_table,
)

DOCS = HERE.parent / "docs"


def main() -> None:
    """Write everything; trains nothing."""
    answers = hypotheses()
    (DOCS / "evidence.md").write_text(page(answers), encoding="utf-8")
    (RESULTS / "answers.json").write_text(json.dumps(summary(answers), indent=2) + "\n", encoding="utf-8")
    for name, figure in figures().items():
        (DOCS / "images" / f"{name}.svg").write_text(svg(figure), encoding="utf-8")


def page(answers: list[Answer]) -> str:
    """Give the text of docs/evidence.md: evidence.md.in with its words between @ replaced."""
    many, few = primary_tables()
    words = {
        "TUNING": tuning_table(),
        "ANSWERS": answers_table(answers),
        "SENTENCES": "\n".join(f"- **{a.name}: {a.verdict}.** {sentence(a)}" for a in answers),
        "PRIMARY": many,
        "PRIMARY-CONTROLS": few,
        "SEEDS": seeds_sentence(answers),
        "FAILURES": failures_sentence(),
        "MACHINE": machine_sentence(),
        "COMMANDS": commands(),
        "CORE-MINUTES": f"{core_minutes():.0f}",
        "ROUNDING": rounding_table(),
    }
    words |= costs()
    for study in trained():
        if not study.name.startswith("primary"):
            words[study.name.upper()] = secondary_table(study)
    text = (HERE / "evidence.md.in").read_text(encoding="utf-8")
    for word, value in words.items():
        if f"@{word}@" not in text:
            raise ValueError(f"evidence.md.in does not show @{word}@: every study has its table on the page")
        text = text.replace(f"@{word}@", value)
    if left := re.findall(r"@[A-Z0-9.-]+@", text):
        raise ValueError(f"evidence.md.in has words that nothing replaces: {', '.join(left)}")
    return text


def costs() -> dict[str, str]:
    """Give what smaller weights and the pilot's rate cost on the same seeds, in points."""
    best, usual = chosen_regimes(), read("depth")
    lost = {
        f"{study}-{name}".upper(): paired_difference(usual[best[name]], read(study)[best[name]])
        for study in ("gain-0.3", "gain-0.1")
        for name in ("conventional", "LeRaC")
    }
    lost["PILOT-RATE"] = paired_difference(usual[best["conventional"]], read("pilot")["conventional(lr=0.1)"])
    return {word: numbers(difference) for word, difference in lost.items() if difference is not None}


def summary(answers: list[Answer]) -> dict[str, dict[str, object]]:
    """Give the numbers of the answers."""
    return {
        a.name: {
            "verdict": a.verdict,
            "mean": a.difference.mean,
            "low": a.difference.low,
            "high": a.difference.high,
            "n": a.difference.n,
            "p": a.p,
            "adjusted_p": a.adjusted,
        }
        for a in answers
    }


def figures() -> dict[str, Figure]:
    """Draw differences to conventional training: of the primary question and the pilot's setting, and of the sweeps."""
    studies, chosen = {study.name: study for study in trained()}, chosen_regimes()
    as_in_pilot = dict(zip(chosen, map(canonical, studies["pilot"].regimes), strict=True))
    panels = {
        "tuned, each by itself": ({**read("primary"), **read("primary-controls")}, chosen),
        "the pilot's values": (read("pilot"), as_in_pilot),
    }
    found = {
        title: {name: compared(values, names["conventional"])[names[name]] for name in names if name != "conventional"}
        for title, (values, names) in panels.items()
    }

    def swept(name: str, values: Iterable[float]) -> dict[float, Difference]:
        differences = compared(read(name), chosen["conventional"])
        regimes = studies[name].regimes[1:]
        return {at: differences[canonical(regime)] for at, regime in zip(values, regimes, strict=True)}

    lost = {float(ratio): every for ratio, (every, _) in rounding_shares().items() if ratio in RATIOS}
    return {
        "evidence-regimes": forest(found),
        "evidence-sweeps": sweeps(swept("k", KS), swept("ratio", map(float, RATIOS)), lost),
    }


if __name__ == "__main__":
    main()
