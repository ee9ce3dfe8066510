"""Trains what the protocol asks for and keeps every value as CSV; a second call trains what is missing.

    python evidence/train.py [--only NAME ...] [--out runs/evidence] [--workers N]

First the studies that choose values, then, with the values chosen, those that answer the questions.
"""

import argparse
import csv
import json
import resource
import shutil
import sys
from pathlib import Path
from statistics import fmean

from arithmetic import fingerprint, pin
from lerac.cli import run
from lerac.study.runs import environment
from measured import canonical, read
from questions import CHOSEN, HERE, Study, evaluation, read_chosen, tuning

RESULTS = HERE / "results"
LEDGER = RESULTS / "core-seconds.csv"
ENVIRONMENT = RESULTS / "environment.json"


def main() -> None:
    """Train, choose, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of studies")
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--workers", type=int)
    asked = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    pin()
    choosing = tuning()
    for study in choosing:
        train(study, "tuning", asked)
    if asked.only is None and not CHOSEN.exists():
        lines = (f'{study.name} = "{best_of(study)}"\n' for study in choosing)
        CHOSEN.write_text("".join(lines), encoding="utf-8")
    for study in evaluation(read_chosen()):
        train(study, "evaluation", asked)


def train(study: Study, stage: str, asked: argparse.Namespace) -> None:
    """Train what a study lacks, copy its table, and add the processor time it took to the ledger."""
    if asked.only is not None and study.name not in asked.only:
        return
    arithmetic = fingerprint()
    check_environment(stage, environment("cpu") | {"arithmetic": arithmetic}, "this machine")
    command = study.command(asked.out) + ([] if asked.workers is None else ["--workers", str(asked.workers)])
    print("lerac", " ".join(command), flush=True)
    before = core_seconds()
    code = run(command)
    note_time(study.name, core_seconds() - before)
    if code:
        sys.exit(code)
    shutil.copyfile(asked.out / study.name / "results.csv", RESULTS / f"{study.name}.csv")
    for status in sorted((asked.out / study.name).glob("runs/*/*/status.json")):
        found = json.loads(status.read_text(encoding="utf-8"))["environment"]
        check_environment(stage, found | {"arithmetic": arithmetic}, str(status))


def check_environment(stage: str, found: dict[str, str], where: str) -> None:
    """Keep the versions and the kind of machine of a stage; all its studies must have the same, or runs are not comparable.

    Raises:
        SystemExit: if another study, or another run of this one, has another environment.
    """
    known = json.loads(ENVIRONMENT.read_text(encoding="utf-8")) if ENVIRONMENT.exists() else {}
    if known.setdefault(stage, found) != found:
        sys.exit(
            f"{where} is {found}, but other runs of the {stage} are from {known[stage]}: numbers are the same on one "
            f"kind of machine and one version only; to train all of them here, remove {RESULTS} and call this with "
            "another --out"
        )
    ENVIRONMENT.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def best_of(study: Study) -> str:
    """Give the regime with the highest mean validation accuracy, the first of several; failures count as chance."""
    values = read(study.name, split="validation")
    return max(study.regimes, key=lambda regime: fmean(values[canonical(regime)].values()))


def core_seconds() -> float:
    """Give the processor time of all child processes that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def note_time(name: str, seconds: float) -> None:
    """Add to what a study has taken so far."""
    taken = dict(csv.reader(LEDGER.open(encoding="utf-8"))) if LEDGER.exists() else {"study": "core_seconds"}
    taken[name] = f"{float(taken.get(name, 0)) + seconds:.0f}"
    LEDGER.write_text("".join(f"{key},{value}\n" for key, value in taken.items()), encoding="utf-8")


if __name__ == "__main__":
    main()
