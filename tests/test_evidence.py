"""The evidence is what its commands give, and its page says what its tables say."""

import csv
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lerac.study.requests import parse_seeds, request_study

ROOT = Path(__file__).parents[1]
EVIDENCE = ROOT / "evidence"
sys.path.insert(0, str(EVIDENCE))
import arithmetic  # noqa: E402
import measured  # noqa: E402
import write  # noqa: E402
from questions import CUT, GRIDS, evaluation, read_chosen, tuning  # noqa: E402
from train import best_of  # noqa: E402

TOLERANCE = 10  # points of accuracy; another machine rounds otherwise, and training magnifies it
STUDIES = [*tuning(), *(study for study in evaluation(read_chosen()) if study.name not in CUT)]


def table(name):
    with (EVIDENCE / "results" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def answers():
    return measured.hypotheses()


def test_every_configuration_can_be_trained_and_budgets_are_equal():
    assert {len(grid) for grid in GRIDS.values()} == {12}
    for study in [*tuning(), *evaluation(read_chosen())]:
        regimes = ",".join(study.regimes)
        recipe = str(EVIDENCE / "recipes" / f"{study.recipe}.toml")
        asked = request_study([recipe], regimes, parse_seeds(study.seeds), study.sets, None, "cpu", study.precision)
        assert len(asked.runs()) == len(study.regimes) * len(parse_seeds(study.seeds))


def test_no_seed_serves_two_purposes():
    chosen = {seed for study in tuning() for seed in parse_seeds(study.seeds)}
    asked = {seed for study in evaluation(read_chosen()) for seed in parse_seeds(study.seeds)}
    assert not chosen & asked


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_table_has_every_run_once_for_each_split(study):
    asked = {(measured.canonical(regime), seed) for regime in study.regimes for seed in parse_seeds(study.seeds)}
    for split in ("validation", "test"):
        rows = [r for r in table(study.name) if (r["split"], r["metric"]) == (split, "accuracy")]
        assert len(rows) == len(asked)
        assert {(row["regime"], int(row["seed"])) for row in rows} == asked


def test_what_was_chosen_is_what_the_rule_of_the_protocol_gives():
    assert read_chosen() == {study.name: best_of(study) for study in tuning()}


def test_the_page_and_the_answers_say_what_the_tables_say(answers):
    assert (ROOT / "docs/evidence.md").read_text(encoding="utf-8") == write.page(answers)
    found = json.loads((EVIDENCE / "results/answers.json").read_text(encoding="utf-8"))
    assert found == json.loads(json.dumps(write.summary(answers)))


def test_the_python_of_the_page_finds_the_same(answers, monkeypatch, capsys):
    [block] = re.findall(r"^```python\n(.*?)^```", write.page(answers), re.DOTALL | re.MULTILINE)
    assert len(block.splitlines()) <= 10
    monkeypatch.chdir(ROOT)
    chosen = {name.removeprefix("tuning-"): measured.canonical(regime) for name, regime in read_chosen().items()}
    first = next(a for a in answers if a.name == "H1")
    for answer in answers:
        changed = block.replace(f'"{chosen[first.other]}"', f'"{chosen[answer.other]}"')
        exec(compile(changed, "docs/evidence.md", "exec"), {})
        n, mean, low, high, p = (float(x) for x in re.findall(r"-?\d+\.?\d*", capsys.readouterr().out))
        assert n == answer.difference.n
        assert (mean, low, high) == pytest.approx(
            (answer.difference.mean, answer.difference.low, answer.difference.high), abs=0.03
        )  # it takes 1.96 for Student's t
        assert p == pytest.approx(answer.p, abs=0.02)  # of 10,000 flips of its own


def answer_of(mean, low, high, adjusted):
    difference = measured.Difference({1: mean, 2: mean}, mean, low, high)
    return measured.Answer("H1", "cbs", "LeRaC is better than CBS", difference, adjusted, adjusted)


@pytest.mark.parametrize(
    ("mean", "low", "high", "adjusted", "verdict"),
    [
        (0.5, 0.2, 0.8, 0.01, "supported"),
        (0.1, 0.02, 0.18, 0.01, "supported, but too small to matter here"),
        (-0.5, -0.8, -0.2, 0.01, "refuted"),
        (0.1, -0.04, 0.24, 0.3, "refuted"),
        (0.1, -0.06, 0.26, 0.3, "undecided"),
    ],
)
def test_verdicts_are_those_of_the_protocol(mean, low, high, adjusted, verdict):
    answer = answer_of(mean, low, high, adjusted)
    assert answer.verdict == verdict
    said = write.sentence(answer)
    assert ("other way round" in said) == (mean < 0)
    assert said.endswith(".")


@pytest.mark.wide
def test_three_runs_drawn_at_random_give_their_numbers_again(record_property):
    draw = random.SystemRandom().randrange(10**6)
    record_property("draw", draw)
    drawn = random.Random(draw).sample(
        [(study.name, row["regime"], row["seed"]) for study in STUDIES for row in table(study.name)], 3
    )
    for run in drawn:
        done = subprocess.run(
            [sys.executable, EVIDENCE / "again.py", *run],
            env={**os.environ, **arithmetic.PINNED},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        said = f"draw {draw}: {run} gives {found}"
        if found["same_arithmetic"]:
            assert found["again"] == found["table"], said
        elif None not in (found["again"], found["table"]):
            assert abs(found["again"] - found["table"]) < TOLERANCE, said
