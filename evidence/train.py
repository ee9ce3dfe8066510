"""Trains what the protocol asks for and keeps every value as CSV; a second call trains what is missing.

    python evidence/train.py [--only NAME] [--out runs/evidence] [--workers N]

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

from arithmetic import fingerprint
from lerac.cli import run
from measured import canonical, read
from questions import CHOSEN, HERE, Study, evaluation, read_chosen, tuning

RESULTS = HERE / "results"
LEDGER = RESULTS / "core-seconds.csv"
ENVIRONMENT = RESULTS / "environment.json"


def main() -> None:
    """Train, choose, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="name of one study")
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--workers", type=int)
    asked = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    choosing = tuning()
    for study in choosing:
        train(study, asked)
    if asked.only is None and not CHOSEN.exists():
        lines = (f'{study.name} = "{best_of(study)}"\n' for study in choosing)
        CHOSEN.write_text("".join(lines), encoding="utf-8")
    for study in evaluation(read_chosen()):
        train(study, asked)


def train(study: Study, asked: argparse.Namespace) -> None:
    """Train what a study lacks, copy its table, and add the processor time it took to the ledger."""
    if asked.only not in (None, study.name):
        return
    command = study.command(asked.out) + ([] if asked.workers is None else ["--workers", str(asked.workers)])
    print("lerac", " ".join(command), flush=True)
    before = core_seconds()
    code = run(command)
    note_time(study.name, core_seconds() - before)
    if code:
        sys.exit(code)
    shutil.copyfile(asked.out / study.name / "results.csv", RESULTS / f"{study.name}.csv")
    note_environment(asked.out / study.name)


def note_environment(folder: Path) -> None:
    """Keep the versions and the kind of machine of a study; all studies must have the same, or runs are not comparable.

    Raises:
        SystemExit: if another study, or another run of this one, has another environment.
    """
    arithmetic = fingerprint()
    for status in sorted(folder.glob("runs/*/*/status.json")):
        found = json.loads(status.read_text(encoding="utf-8"))["environment"] | {"arithmetic": arithmetic}
        if not ENVIRONMENT.exists():
            ENVIRONMENT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        known = json.loads(ENVIRONMENT.read_text(encoding="utf-8"))
        if found != known:
            sys.exit(
                f"{status} is from {found}, but other runs are from {known}: they are the same on one kind of machine "
                f"and one version only; to train all of them here, remove {RESULTS} and call this with another --out"
            )


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
