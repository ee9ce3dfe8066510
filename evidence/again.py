"""Trains one run again, and prints its test accuracy beside that in the table, in points, as JSON.

python evidence/again.py primary "conventional(lr=0.0075)" 100
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from arithmetic import environment, pin
from lerac.cli import run
from measured import canonical, read_as_written
from questions import ENVIRONMENTS, RESULTS, trained, tuning


def main() -> None:
    """Train, and print both numbers, and whether this machine and torch should give the same to the last digit."""
    studies = {study.name: study for study in (*tuning(), *trained())}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=studies)
    parser.add_argument("regime", type=canonical)
    parser.add_argument("seed", type=int)
    asked = parser.parse_args()
    there = read_as_written(RESULTS / f"{asked.study}.csv").get(asked.regime, {}).get(asked.seed)
    if there is None:
        parser.error(f"the table of {asked.study} has no {asked.regime} with seed {asked.seed}")
    pin()
    one = replace(studies[asked.study], regimes=(asked.regime,), seeds=f"{asked.seed}-{asked.seed}")
    with TemporaryDirectory() as out:
        if code := run(one.command(Path(out))):
            parser.exit(code)
        again = read_as_written(Path(out) / one.name / "results.csv")[asked.regime][asked.seed]
    known = json.loads(ENVIRONMENTS.read_text(encoding="utf-8"))[asked.study]
    same = all(known[key] == value for key, value in environment().items() if key in ("torch", "arithmetic"))
    print(json.dumps({"table": there, "again": again, "same_arithmetic": same}))


if __name__ == "__main__":
    main()
