"""Trains what the protocol asks for and keeps every value as CSV; a second call trains what is missing.

    python evidence/train.py [--only NAME ...] [--out runs/evidence] [--workers N]

First the studies that choose values, then, with the values chosen, those that answer the questions. Tables in results/
are replaced by those of this machine.
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
from measured import canonical, read
from questions import CHOSEN, CUT, ENVIRONMENTS, LEDGER, RESULTS, Study, evaluation, read_chosen, tuning


def main() -> None:
    """Train, choose, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of studies")
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--workers", type=int)
    asked = parser.parse_args()
    if not Path("evidence/recipes").is_dir():
        parser.error(f"call it from the root of the repository, not from {Path.cwd()}")
    pin()
    RESULTS.mkdir(exist_ok=True)
    choosing = tuning()
    known = {study.name for study in choosing}
    if CHOSEN.exists():
        known |= {study.name for study in evaluation(read_chosen())}
    if unknown := set(asked.only or ()) - known:
        parser.error(f"no such study: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    for study in choosing:
        train(study, asked)
    if asked.only is None:
        choose(choosing)
    for study in evaluation(read_chosen()):
        if asked.only is not None or study.name not in CUT:
            train(study, asked)


def choose(choosing: list[Study]) -> None:
    """Keep the values that tuning chooses; those that were published stay, whatever this machine would choose."""
    found = {study.name: best_of(study) for study in choosing}
    if not CHOSEN.exists():
        CHOSEN.write_text("".join(f'{name} = "{regime}"\n' for name, regime in found.items()), encoding="utf-8")
    for name, regime in read_chosen().items():
        if found[name] != regime:
            print(f"{name} has chosen {regime}, which stays; with the arithmetic of this machine it is {found[name]}")


def train(study: Study, asked: argparse.Namespace) -> None:
    """Train what a study lacks, copy its table, and add the processor time it took to the ledger."""
    if asked.only is not None and study.name not in asked.only:
        return
    command = study.command(asked.out) + ([] if asked.workers is None else ["--workers", str(asked.workers)])
    print("lerac", " ".join(command), flush=True)
    before = core_seconds()
    code = run(command)
    note_time(study.name, core_seconds() - before)
    if code:
        sys.exit(code)
    note_environment(study.name, asked.out / study.name)
    shutil.copyfile(asked.out / study.name / "results.csv", RESULTS / f"{study.name}.csv")


def note_environment(name: str, folder: Path) -> None:
    """Keep the versions, the kind of machine and its arithmetic, which all runs of a study must share.

    Raises:
        SystemExit: if runs of this study have different environments.
    """
    found: dict[str, str] | None = None
    for status in sorted(folder.glob("runs/*/*/status.json")):
        of_run = json.loads(status.read_text(encoding="utf-8"))["environment"]
        if found is not None and found != of_run:
            sys.exit(
                f"{status} is from {of_run}, other runs of {name} are from {found}: their numbers cannot be compared. "
                f"Remove {folder} and call this again"
            )
        found = of_run
    assert found is not None
    known = json.loads(ENVIRONMENTS.read_text(encoding="utf-8")) if ENVIRONMENTS.exists() else {}
    known[name] = found | {"arithmetic": fingerprint()}
    ENVIRONMENTS.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


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
