"""Counts the updates that rounding loses at every ratio of the protocol, and keeps them as results/rounding.csv.

    python evidence/rounding.py

What `benchmarks/rounded_updates.py` measures, with the k that tuning has chosen and the seeds of the ratio's study.
"""

import csv
import sys

from arithmetic import pin
from questions import HERE, RATIOS, ROUNDING, chosen_lerac

sys.path.insert(0, str(HERE.parent / "benchmarks"))
from rounded_updates import Case, measure

SEEDS = range(400, 410)
STEPS_PER_EPOCH = 10  # 600 images in batches of 64


def main() -> None:
    """Measure, and write a row per ratio and seed."""
    pin()
    k = int(chosen_lerac()["k"]) * STEPS_PER_EPOCH
    rows: list[tuple[str, int, float, float]] = []
    for ratio in ("1", *RATIOS):
        for seed in SEEDS:
            found = measure(Case("small-cnn", "SGD", "float32", float(ratio)), seed, k)
            every = float((found.shares.mean(0) * found.sizes).sum() / found.sizes.sum())
            rows.append((ratio, seed, every, float(found.shares[0, -1])))
    with ROUNDING.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("ratio", "seed", "unchanged", "unchanged_last_layer_step_0"))
        out.writerows(rows)


if __name__ == "__main__":
    main()
