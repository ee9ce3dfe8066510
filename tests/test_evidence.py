"""The evidence is what its commands give, and its page says what its tables say."""

import csv
import json
import math
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lerac.study.plan.request import parse_seeds, request_study

ROOT = Path(__file__).parents[1]
EVIDENCE = ROOT / "evidence"
sys.path.insert(0, str(EVIDENCE))
import measured  # noqa: E402
import tables  # noqa: E402
import write  # noqa: E402
from questions import ENVIRONMENTS, GRIDS, LEDGER, evaluation, read_chosen, trained, tuning  # noqa: E402

TOLERANCE = 10  # points of accuracy; another machine rounds otherwise, and training magnifies it
STUDIES = [*tuning(), *trained()]


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


def test_every_study_has_its_time_and_its_environment():
    with LEDGER.open(encoding="utf-8") as file:
        taken = {row["study"]: float(row["core_seconds"]) for row in csv.DictReader(file)}
    names = {study.name for study in STUDIES}
    assert set(taken) == set(json.loads(ENVIRONMENTS.read_text(encoding="utf-8"))) == names
    assert min(taken.values()) > 0
    assert sum(taken.values()) < 240 * 60


def test_equal_runs_of_two_studies_are_equal():
    found = {}
    for study in trained():
        cell = (study.recipe, study.sets)
        for regime, of_seeds in measured.read(study.name).items():
            for seed, value in of_seeds.items():
                assert found.setdefault((cell, regime, seed), value) == value, (study.name, regime, seed)


def test_what_was_chosen_is_what_the_rule_of_the_protocol_gives():
    for study in tuning():
        right = dict.fromkeys(map(measured.canonical, study.regimes), 0)  # in the order of the grid
        for row in table(study.name):
            if (row["split"], row["metric"]) == ("validation", "accuracy"):
                right[row["regime"]] += round(300 * float(row["value"]))  # a loss that is not finite raises
        best = next(regime for regime, count in right.items() if count == max(right.values()))
        assert best == measured.canonical(read_chosen()[study.name])


def test_the_page_and_the_answers_say_what_the_tables_say(answers):
    assert (ROOT / "docs/evidence.md").read_text(encoding="utf-8") == write.page(answers)
    found = json.loads((EVIDENCE / "results/answers.json").read_text(encoding="utf-8"))
    assert found == json.loads(json.dumps(write.summary(answers)))


def test_the_python_of_the_page_finds_the_same(answers, monkeypatch, capsys):
    [block] = re.findall(r"^```python\n(.*?)^```", write.page(answers), re.DOTALL | re.MULTILINE)
    assert sum(bool(line) for line in block.splitlines()) <= 10
    monkeypatch.chdir(ROOT)
    chosen = {name.removeprefix("tuning-"): measured.canonical(regime) for name, regime in read_chosen().items()}
    first = next(a for a in answers if a.name == "H1")
    random.seed(0)
    for answer in answers:
        changed = block.replace(f'"{chosen[first.other]}"', f'"{chosen[answer.other]}"')
        exec(compile(changed, "docs/evidence.md", "exec"), {})
        n, mean, low, high, p = (float(x) for x in re.findall(r"-?\d+\.?\d*", capsys.readouterr().out))
        assert n == answer.difference.n
        difference = answer.difference
        assert (mean, low, high) == pytest.approx((difference.mean, difference.low, difference.high), abs=0.001)
        assert p == pytest.approx(answer.p, abs=0.02)  # of 10,000 flips of its own


def test_the_readme_quotes_the_tables():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    values, chosen = {**measured.read("primary"), **measured.read("primary-controls")}, tables.chosen_regimes()
    assert f"({sum(values[chosen['conventional']].values()) / 254:.2f} % of test images right)" in readme
    differences = measured.compared(values, chosen["conventional"])
    names = ("LeRaC", "exponential warm-up", "linear warm-up", "CBS", "reversed LeRaC", "shuffled LeRaC")
    row = " | ".join(tables.numbers(differences[chosen[name]]) for name in names)
    assert f"| {row} |" in readme.replace("**", "")


def answer_of(mean, low, high, adjusted):
    difference = measured.Difference({1: mean, 2: mean}, mean, low, high)
    return measured.Answer("H3", "cbs", "LeRaC is better than CBS", "the sun shines", difference, adjusted, adjusted)


@pytest.mark.parametrize(
    ("mean", "low", "high", "adjusted", "verdict"),
    [
        (0.5, 0.2, 0.8, 0.01, "supported"),
        (0.5, 0.2, 0.8, 0.05, "undecided"),
        (0.1, 0.0, 0.25, 0.01, "supported"),
        (0.1, 0.02, 0.18, 0.01, "supported, but too small to matter here"),
        (-0.5, -0.8, -0.2, 0.01, "refuted"),
        (0.1, -0.04, 0.24, 0.3, "refuted"),
        (-0.1, -0.24, 0.04, 0.3, "refuted"),
        (0.1, -0.05, 0.25, 0.3, "undecided"),
        (0.1, -0.06, 0.26, 0.3, "undecided"),
    ],
)
def test_verdicts_are_those_of_the_protocol(mean, low, high, adjusted, verdict):
    answer = answer_of(mean, low, high, adjusted)
    assert answer.verdict == verdict
    said = tables.sentence(answer)
    assert ("other way round" in said) == (mean == -0.5)
    assert ("the sun shines" in said) == (verdict == "supported")
    assert f"[{low:+.3f}, {high:+.3f}]".replace("-", "−") in said


def test_a_failed_run_counts_as_chance_and_is_named(tmp_path):
    rows = ["regime,seed,split,metric,value", "cbs,1,test,accuracy,nan", "cbs,2,test,accuracy,0.5", "cbs,2,test,loss,9"]
    (tmp_path / "some.csv").write_text("\n".join([*rows, "cbs,2,validation,accuracy,0.7"]) + "\n")
    assert measured.read("some", results=tmp_path) == {"cbs": {1: 10.0, 2: 50.0}}
    assert measured.failed("some", results=tmp_path) == {"cbs": [1]}
    assert measured.read("some", split="validation", results=tmp_path) == {"cbs": {2: 70.0}}


def test_sign_flips_by_hand():
    assert measured.sign_flip_p([1.0, 2.0, 3.0]) == 2 / 8  # all signs alike, of 8
    assert measured.sign_flip_p([0.1, 0.2, -0.3]) == 1.0


def test_pictures_show_the_tables(answers):
    drawn = write.figures()
    tuned, pilot = drawn["evidence-regimes"].axes
    primary = {**measured.read("primary"), **measured.read("primary-controls")}
    chosen = tables.chosen_regimes()
    wanted = [d.mean for d in measured.compared(primary, chosen["conventional"]).values()]
    for axes, means in ((tuned, wanted), (pilot, None)):
        shown = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o"]
        assert len(shown) == len(chosen) - 1
        if means is not None:
            assert sorted(shown) == pytest.approx(sorted(means))
    by_k, by_ratio, lost = drawn["evidence-sweeps"].axes
    assert list(by_k.lines[0].get_xdata()) == [1, 2, 3, 5, 7, 10, 15]
    assert list(by_ratio.lines[0].get_xdata()) == pytest.approx([10.0**-n for n in range(2, 9)])
    k6 = measured.compared(measured.read("depth"), chosen["conventional"])[chosen["LeRaC"]].mean
    assert by_ratio.lines[0].get_ydata()[0] == pytest.approx(k6)  # k = 6 and ratio 1e-2 are what was chosen
    assert by_k.get_ylim() == by_ratio.get_ylim()
    assert list(lost.lines[0].get_ydata()) == sorted(lost.lines[0].get_ydata())  # smaller ratios lose more


@pytest.mark.wide
@pytest.mark.timeout(620)
def test_three_runs_drawn_at_random_give_their_numbers_again(record_property):
    draw = random.SystemRandom().randrange(10**6)
    record_property("draw", draw)
    runs = sorted({(study.name, row["regime"], row["seed"]) for study in STUDIES for row in table(study.name)})
    for run in random.Random(draw).sample(runs, 3):
        done = subprocess.run(
            [sys.executable, EVIDENCE / "again.py", *run], cwd=ROOT, capture_output=True, text=True, timeout=200
        )
        said = f"draw {draw}: {run} gives {done.stdout + done.stderr}"
        assert done.returncode == 0, said
        found = json.loads(done.stdout.splitlines()[-1])
        if found["same_arithmetic"]:
            assert str(found["again"]) == str(found["table"]), said  # NaN equals NaN
        elif not math.isnan(found["again"]) and not math.isnan(found["table"]):
            assert abs(found["again"] - found["table"]) < TOLERANCE, said
