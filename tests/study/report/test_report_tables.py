import csv
import io
import math
import re
import shutil
import subprocess
from statistics import fmean, geometric_mean, mean, stdev

import pytest
from pages import page_of
from scipy import stats
from studies import make_study, train_here

from lerac import cli
from lerac.study.recipes.recipe import load_recipe
from lerac.study.report.details import settings_rows
from lerac.study.report.tables import escape_tex, table_csv, table_tex, write_summary
from lerac.study.runs.comparison import compare
from lerac.study.runs.outcomes import outcome_of
from lerac.study.runs.times import times_of, unit_of
from lerac.study.statistics import analyse

PUBLISHED = {"conventional": [89.2, 0.43], "lerac": [89.56, 0.16]}


def compared(study, results, **options):
    return compare(study, results, analyse(results, **options))


def results_of(study, values, seconds=None):
    """Results as if trained: (regime, seed) → share, NaN for diverged, an error's text, or nothing yet."""
    results = []
    for run in study.runs():
        value = values.get((run.regime, run.seed))
        error = value if isinstance(value, str) else None
        status = None
        if isinstance(value, float):
            took = (seconds or {}).get((run.regime, run.seed), 1.0)
            score = {"accuracy": value, "loss": 1.0}
            status = {"state": "done", "test": score, "validation": score, "epochs": 2, "steps": 6}
            status |= {"seconds": took, "device": "cpu"}
            if math.isnan(value):
                status |= {"state": "diverged", "steps": 4}
        results.append(outcome_of(run, status, [], error, []))
    return results


@pytest.fixture(scope="module")
def troubled():
    """Three regimes, of which one diverged once, failed once and is not finished once."""
    study = make_study("conventional", "lerac", "cbs", seeds=(0, 1, 2, 3, 4))
    recipe = study.recipes[0].model_copy(update={"published": PUBLISHED})
    study = study.model_copy(update={"recipes": [recipe]})
    values = {(regime, seed): 0.8 + 0.01 * seed for regime in study.regimes for seed in study.seeds}
    values |= {("lerac", 1): 0.85, ("cbs", 2): math.nan, ("cbs", 3): "Traceback: <b>\nMemoryError: too large & more\n"}
    del values["cbs", 4]
    return study, results_of(study, values)


@pytest.fixture(scope="module")
def page(troubled, tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("report"), *troubled)


def test_csv_has_a_row_per_regime(troubled):
    rows = list(csv.DictReader(io.StringIO(table_csv(compared(*troubled)))))
    assert [row["regime"] for row in rows] == ["conventional", "lerac", "cbs"]
    conventional, lerac, cbs = rows
    shares = [80, 81, 82, 83, 84]
    assert float(conventional["mean"]) == pytest.approx(mean(shares))
    assert float(conventional["sd"]) == pytest.approx(stdev(shares), abs=1e-6)
    assert conventional["difference"] == conventional["low"] == conventional["pairs"] == ""
    differences = [0, 4, 0, 0, 0]
    low, high = stats.t.interval(0.95, 4, fmean(differences), stats.sem(differences))
    assert float(lerac["difference"]) == pytest.approx(0.8)
    assert (float(lerac["low"]), float(lerac["high"])) == pytest.approx((low, high), abs=1e-6)
    counts = ("n", "pairs", "diverged", "failed", "not_ended")
    assert [cbs[key] for key in counts] == ["2", "2", "1", "1", "1"]
    assert [row["baseline"] for row in rows] == ["conventional"] * 3
    assert [conventional[key] for key in ("p", "sign_flip_p", "improvement", "detectable")] == [""] * 4
    p = stats.ttest_1samp(differences, 0).pvalue
    assert (float(lerac["p"]), float(lerac["p_holm"])) == pytest.approx((p, min(1, 2 * p)))  # of two, one has no p
    assert float(lerac["sign_flip_p"]) == 1.0  # of one difference that is not 0
    wins = [(x > y) + 0.5 * (x == y) for x in (80, 85, 82, 83, 84) for y in shares]
    assert float(lerac["improvement"]) == pytest.approx(mean(wins))
    assert (lerac["claim"], lerac["seeds_needed"]) == ("", "")
    assert [float(cbs[key]) for key in ("diverged_rate", "diverged_low", "diverged_high")] == pytest.approx(
        [1 / 3, *stats.binomtest(1, 3).proportion_ci(method="exact")]
    )
    published = [(row["published_mean"], row["published_sd"], row["unit"]) for row in rows]
    assert published == [("89.2", "0.43", "%"), ("89.56", "0.16", "%"), ("", "", "%")]


def test_latex_has_the_same_numbers_in_a_tabular_that_compiles(troubled):
    text = table_tex(compared(*troubled))
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    columns = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", lines[0])[1]
    assert lines[-1] == r"\end{tabular}"
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    rows = [line for line in lines if line.endswith(r" \\")]
    assert len(rows) == 1 + 3
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
        assert row.count("$") % 2 == 0
        assert row.count("{") == row.count("}")
        assert set(re.findall(r"\\([a-zA-Z]+|.)", row)) <= {"pm", "\\", "%"}
        assert not re.search(r"(?<!\\)[%#_~^]", row)
    assert (
        r"small-cnn/digits, accuracy, \% & conventional & $82.00 \pm 1.58$ & -- & -- & 5 & 0 & $89.20 \pm 0.43$" in text
    )
    assert stdev([80, 85, 82, 83, 84]) == pytest.approx(1.92, abs=0.005)
    assert r" & lerac & $82.80 \pm 1.92$ & $+0.80$ $[-1.42, +3.02]$ & $0.75$ & 5 & 0 & $89.56 \pm 0.16$ \\" in text
    assert re.search(r" & cbs & \S+ \\pm \S+ & \$\+0\.00\$ \$\[\+0\.00, \+0\.00\]\$ & -- & 2 & 2 & -- \\\\", text)


def test_latex_compiles(troubled, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex")
    write_summary(tmp_path, compared(*troubled))
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}\end{document}"
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 100 %", r"a\_b \& 100 \%"),
        (r"c:\{x}$#", r"c:\textbackslash{}\{x\}\$\#"),
        ("~^<>", r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"),
        ("lerac(curve=linear,ratio=1e-5)", "lerac(curve=linear,ratio=1e-5)"),
    ],
)
def test_latex_is_escaped(text, escaped):
    assert escape_tex(text) == escaped


def test_several_recipes_are_parted_by_a_rule():
    first, second = make_study("conventional"), make_study("conventional", overrides=('model="small-vit"',))
    study = first.extend(second)
    text = table_tex(compared(study, results_of(study, {})))
    assert text.count(r"\midrule") == 2
    assert r"small-vit/digits, accuracy, \% & conventional & -- & -- & -- & 0 & 0 & -- \\" in text


def test_the_page_shows_published_numbers_and_says_how_they_came_about(page):
    assert "published, %" in page.words
    assert "89.20 ± 0.43" in page.words
    assert "89.56 ± 0.16" in page.words
    assert page.words.count("not published") == 1  # cbs
    assert "measures the test split after every epoch and keeps the best one" in page.words
    assert "n = 5 runs" in page.words.replace("\u00a0", " ")
    assert "Here the epoch is chosen on validation data." in page.words
    assert "Settings were changed here" in page.words


def test_the_page_shows_failures_everywhere(page):
    assert "13 of 15 runs have ended" in page.words
    assert "2 (1 diverged)" in page.words
    cells = " ".join(re.sub(r"<[^>]*>", " ", page.html).split())
    assert "2 82.00 82.00 diverged at step 4" in cells
    assert "3 83.00 83.00 failed" in cells
    assert "4 84.00 84.00 not ended" in cells
    assert "cbs seed 2: diverged, the loss was not finite at step 4." in page.words
    assert "cbs seed 3: stopped by an error: MemoryError: too large & more" in page.words
    [nan] = [row for row in page.data["rows"] if row[1:5] == ["cbs", 2, "test", "accuracy"]]
    assert nan[5] is None


def test_times_are_compared_seed_by_seed():
    study = make_study("conventional", "lerac", "cbs", seeds=(0, 1, 2))
    values = {(regime, seed): 0.5 for regime in study.regimes for seed in study.seeds} | {("cbs", 0): math.nan}
    del values["cbs", 1]
    base, other = (10.0, 20.0, 40.0), (11.0, 24.0, 36.0)
    seconds = {("conventional", s): base[s] for s in range(3)} | {("lerac", s): other[s] for s in range(3)}
    conventional, lerac, cbs = times_of(results_of(study, values, seconds), study.regimes, "conventional")
    assert conventional.ratio is None
    assert conventional.seconds.mean == pytest.approx(mean(base))
    assert conventional.epochs == 2
    ratios = [b / a for a, b in zip(base, other, strict=True)]
    assert lerac.ratio == pytest.approx(geometric_mean(ratios))
    logs = [math.log(ratio) for ratio in ratios]
    interval = stats.t.interval(0.95, 2, fmean(logs), stats.sem(logs))
    assert (lerac.low, lerac.high) == pytest.approx([math.exp(end) for end in interval])
    assert (cbs.seconds.n, cbs.ratio, cbs.low) == (1, pytest.approx(1 / 40), None)


def test_the_page_says_that_times_depend_on_the_load(page):
    assert "Times depend on the load of the machine" in page.words
    assert "time per run, s" in page.words


@pytest.mark.parametrize(
    ("seconds", "unit", "digits"), [(9.9, "s", 2), (10.0, "s", 1), (599.0, "s", 1), (600.0, "min", 1), (36e3, "h", 1)]
)
def test_times_are_shown_in_a_unit_that_fits(seconds, unit, digits):
    study = make_study()
    times = times_of(
        results_of(study, {("conventional", 0): 0.5}, {("conventional", 0): seconds}), study.regimes, "conventional"
    )
    shown = unit_of(times)
    assert (shown.name, shown.digits) == (unit, digits)
    assert unit_of(times_of(results_of(study, {}), study.regimes, "conventional")) is None


def test_every_setting_names_its_source():
    recipe = load_recipe("resnet18/cifar10", ["training.epochs=110"], "paper")
    rows = {key: (value, source) for key, value, source in settings_rows(recipe)}
    assert set(rows) >= set(recipe.sources) - {"data", "warmup"}
    assert rows["optimizer.lr"] == (0.1, "paper: Table 1, ResNet-18")
    assert rows["data.train"] == (45000, recipe.sources["data"])  # the section's
    assert rows["training.epochs"] == (110, "set: on the command line (the paper gives 100 to 200)")
    assert all(source for key, (_, source) in rows.items() if not key.startswith("network"))


def test_lerac_report_writes_page_and_tables_of_merged_and_half_finished_studies(tmp_path, capsys):
    one, two = make_study("conventional", seeds=(0, 1)), make_study("lerac", seeds=(0, 1))
    train_here(tmp_path / "one", one)
    train_here(tmp_path / "two", two, two.runs()[:1])
    assert cli.run(["report", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "both")]) == 0
    assert "report: " in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == [
        *("report.html", "results.csv", "table.csv", "table.tex", "timings.csv")
    ]
    rows = list(csv.DictReader((tmp_path / "both/table.csv").read_text().splitlines()))
    assert [(row["regime"], row["n"], row["not_ended"]) for row in rows] == [
        ("conventional", "2", "0"),
        ("lerac", "1", "1"),
    ]
    assert "3 of 4 runs have ended" in (tmp_path / "both/report.html").read_text()
