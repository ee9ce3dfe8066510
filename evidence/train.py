"""Trains what the protocol asks for and keeps every value as CSV; a second call trains what is missing.

    python evidence/train.py [--only NAME ...] [--out runs/evidence] [--workers N]

First the studies that choose values, then, with the values chosen, those that answer the questions. It says where the
numbers differ from those in results/, and replaces these, but for what has chosen the values: that stays.
"""

import argparse
import csv
import json
import resource
import shutil
import sys
from pathlib import Path
from statistics import fmean

from arithmetic import environment, pin
from lerac.cli import run
from measured import canonical, read, read_as_written
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
    choosing = tuning()
    known = {study.name for study in choosing}
    if CHOSEN.exists():
        known |= {study.name for study in evaluation(read_chosen())}
    if unknown := set(asked.only or ()) - known:
        parser.error(f"no such study: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    asked.out.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(exist_ok=True)
    fresh = not CHOSEN.exists()
    for study in choosing:
        train(study, asked, publish=fresh)
    if fresh and asked.only is None:
        lines = (f'{study.name} = "{best_of(study)}"\n' for study in choosing)
        CHOSEN.write_text("".join(lines), encoding="utf-8")
    for study in evaluation(read_chosen()):
        if asked.only is not None or study.name not in CUT:
            train(study, asked, publish=True)


def train(study: Study, asked: argparse.Namespace, *, publish: bool) -> None:
    """Train what a study lacks and, if it is to be published, replace its table and its entries by this one's."""
    if asked.only is not None and study.name not in asked.only:
        return
    found = note_environment(study.name, asked.out)
    command = study.command(asked.out) + ([] if asked.workers is None else ["--workers", str(asked.workers)])
    print("lerac", " ".join(command), flush=True)
    before = core_seconds()
    code = run(command)
    taken = note_time(study.name, asked.out, core_seconds() - before)
    if code:
        sys.exit(code)
    table = asked.out / study.name / "results.csv"
    print(how_it_differs(study.name, table))
    if publish:
        shutil.copyfile(table, RESULTS / f"{study.name}.csv")
        _update(ENVIRONMENTS, study.name, found)
        _write_ledger(LEDGER, {**_read_ledger(LEDGER), study.name: taken})


def note_environment(name: str, out: Path) -> dict[str, str]:
    """Give the environment of this machine, which all runs of a study must share.

    Raises:
        SystemExit: if earlier runs of this study had another.
    """
    notes, found = out / ENVIRONMENTS.name, environment()
    known = json.loads(notes.read_text(encoding="utf-8")) if notes.exists() else {}
    if (before := known.get(name, found)) != found:
        sys.exit(
            f"runs of {name} in {out / name} are from {before}, but this is {found}: their numbers cannot be compared. "
            f"Give another --out, or remove {out / name} and its entry in {notes}"
        )
    _update(notes, name, found)
    return found


def how_it_differs(name: str, table: Path) -> str:
    """Say how many numbers of a new table are not those of the published one."""
    if not (RESULTS / f"{name}.csv").exists():
        return f"{name}: not published before"
    new, old = read_as_written(table), read_as_written(RESULTS / f"{name}.csv")
    pairs = [(value, old.get(regime, {}).get(seed)) for regime, row in new.items() for seed, value in row.items()]
    other = sum(str(value) != str(before) for value, before in pairs)
    return f"{name}: {len(pairs) - other} of {len(pairs)} test accuracies are those that were published"


def best_of(study: Study) -> str:
    """Give the regime with the highest mean validation accuracy, the first of several; failures count as chance."""
    values = read(study.name, split="validation")
    return max(study.regimes, key=lambda regime: round(fmean(values[canonical(regime)].values()), 9))


def core_seconds() -> float:
    """Give the processor time of all child processes that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def note_time(name: str, out: Path, seconds: float) -> float:
    """Add to what a study has taken so far; give the sum."""
    notes = out / LEDGER.name
    known = _read_ledger(notes)
    known[name] = round(known.get(name, 0.0) + seconds)
    _write_ledger(notes, known)
    return known[name]


def _read_ledger(file: Path) -> dict[str, float]:
    if not file.exists():
        return {}
    with file.open(encoding="utf-8") as rows:
        return {row["study"]: float(row["core_seconds"]) for row in csv.DictReader(rows)}


def _write_ledger(file: Path, taken: dict[str, float]) -> None:
    lines = ["study,core_seconds", *(f"{name},{seconds:.0f}" for name, seconds in taken.items())]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _update(file: Path, name: str, found: dict[str, str]) -> None:
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**known, name: found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
