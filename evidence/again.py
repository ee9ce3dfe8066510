"""Trains one run again, and prints its accuracy beside the one in the table, as JSON.

python evidence/again.py primary "conventional(lr=0.0075)" 100
"""

import argparse
import json
import math

from arithmetic import fingerprint, pin
from lerac.study.requests import request_study
from lerac.study.runs import environment
from lerac.study.training import Training
from measured import canonical, failed, read
from questions import ENVIRONMENTS, HERE, Study, evaluation, read_chosen, tuning


def main() -> None:
    """Train, and print both numbers in points, and whether this machine should give the same to the last digit."""
    studies = {study.name: study for study in (*tuning(), *evaluation(read_chosen()))}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=studies)
    parser.add_argument("regime", type=canonical)
    parser.add_argument("seed", type=int)
    asked = parser.parse_args()
    pin()
    known = json.loads(ENVIRONMENTS.read_text(encoding="utf-8"))[asked.study]
    there = read(asked.study).get(asked.regime, {}).get(asked.seed)
    if there is None:
        parser.error(f"the table of {asked.study} has no {asked.regime} with seed {asked.seed}")
    again = train(studies[asked.study], asked.regime, asked.seed)
    print(
        json.dumps(
            {
                "table": None if asked.seed in failed(asked.study)[asked.regime] else there,
                "again": None if math.isnan(again) else again,
                "same_arithmetic": environment("cpu") | {"arithmetic": fingerprint()} == known,
            }
        )
    )


def train(study: Study, regime: str, seed: int) -> float:
    """Give the test accuracy of one run in points; NaN if it failed."""
    recipe = HERE / "recipes" / f"{study.recipe}.toml"
    [run] = request_study([str(recipe)], regime, [seed], study.sets, None, "cpu", study.precision).runs()
    training = Training(run)
    while not training.over:
        training.run_epoch()
    return math.nan if training.diverged_at is not None else 100 * training.test().score


if __name__ == "__main__":
    main()
