"""The evidence is what its commands give: runs drawn at random are trained again."""

import csv
import json
import random
import sys
from pathlib import Path

import pytest

from lerac.study.requests import parse_seeds, request_study
from lerac.study.runs import environment
from lerac.study.training import Training

EVIDENCE = Path(__file__).parents[1] / "evidence"
sys.path.insert(0, str(EVIDENCE))
from arithmetic import fingerprint  # noqa: E402
from questions import CHOSEN, GRIDS, evaluation, read_chosen, tuning  # noqa: E402
from train import best_of  # noqa: E402

TOLERANCE = 0.06  # accuracy; another machine rounds otherwise, and training magnifies it


def all_studies():
    return [*tuning(), *(evaluation(read_chosen()) if CHOSEN.exists() else [])]


def table(name):
    with (EVIDENCE / "results" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_of(study, regime, seed):
    recipe = EVIDENCE / "recipes" / f"{study.recipe}.toml"
    [run] = request_study([str(recipe)], regime, [seed], study.sets, None, "cpu", study.precision).runs()
    return run


def test_every_configuration_can_be_trained_and_budgets_are_equal():
    assert {len(grid) for grid in GRIDS.values()} == {12}
    for study in all_studies():
        regimes = ",".join(study.regimes)
        recipe = str(EVIDENCE / "recipes" / f"{study.recipe}.toml")
        asked = request_study([recipe], regimes, parse_seeds(study.seeds), study.sets, None, "cpu", study.precision)
        assert len(asked.runs()) == len(study.regimes) * len(parse_seeds(study.seeds))


def test_no_seed_serves_two_purposes():
    chosen = {seed for study in tuning() for seed in parse_seeds(study.seeds)}
    asked = {seed for study in all_studies() if study not in tuning() for seed in parse_seeds(study.seeds)}
    assert not chosen & asked


def test_every_table_has_every_run():
    for study in all_studies():
        if not (EVIDENCE / "results" / f"{study.name}.csv").exists():
            continue
        runs = {(row["regime"], int(row["seed"])) for row in table(study.name)}
        assert len(runs) == len(study.regimes) * len(parse_seeds(study.seeds)), study.name


def test_what_was_chosen_is_what_the_rule_of_the_protocol_gives():
    assert read_chosen() == {study.name: best_of(study) for study in tuning()}


@pytest.mark.wide
def test_three_runs_drawn_at_random_give_their_numbers_again(record_property):
    draw = random.SystemRandom().randrange(10**6)
    record_property("draw", draw)
    there = [study for study in all_studies() if (EVIDENCE / "results" / f"{study.name}.csv").exists()]
    drawn = random.Random(draw).sample([(study, row) for study in there for row in table(study.name)], 3)
    same = environment("cpu") | {"arithmetic": fingerprint()} == json.loads(
        (EVIDENCE / "results" / "environment.json").read_text()
    )
    for study, row in drawn:
        training = Training(run_of(study, row["regime"], int(row["seed"])))
        while not training.over:
            training.run_epoch()
        said = f"draw {draw}: {study.name} {row['regime']} seed {row['seed']}"
        values = [
            float(r["value"])
            for r in table(study.name)
            if (r["regime"], r["seed"], r["split"], r["metric"]) == (row["regime"], row["seed"], "test", "accuracy")
        ]
        if training.diverged_at is not None:
            assert values[0] != values[0], said
            continue
        found = training.test().score
        assert found == values[0] if same else abs(found - values[0]) < TOLERANCE, said
