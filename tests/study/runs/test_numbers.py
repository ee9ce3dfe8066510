"""Numbers from elsewhere: a CSV file is compared and shown as a study is, and what cannot be is refused by its line."""

import csv
import json
import math
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pages import Page

from lerac import cli
from lerac.study.errors import StudyError
from lerac.study.metrics import Metric
from lerac.study.runs.numbers.reading import read_files
from lerac.study.runs.numbers.study import Judged, study_of
from lerac.study.statistics import Outcome, analyse

BASE, MINE = (0.91, 0.92, 0.905, 0.915, 0.9), (0.93, 0.935, 0.92, 0.93, 0.925)
HEADER = "regime,seed,value"


def lines_of(**regimes):
    return [f"{regime},{seed},{value}" for regime, values in regimes.items() for seed, value in enumerate(values)]


GOOD = lines_of(conventional=BASE, mine=MINE)


def write(path, *lines, header=HEADER):
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return path


def study_from(*paths, baseline=None, **judged):
    return study_of(read_files(paths), Judged(**judged), baseline)


def refused(capsys, *arguments):
    """The one line that bad input gets."""
    assert cli.run(["report", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "lerac: ")
    return err


def test_statistics_tables_and_page_are_those_of_a_study(tmp_path, capsys):
    file = write(tmp_path / "numbers.csv", *GOOD)
    out = tmp_path / "report"
    words = ["report", str(file), "--metric", "top1", "--goal", "max", "--unit", "%", "--scale", "100", "--claim", "1"]
    assert cli.run([*words, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    metric = Metric("top1", unit="%", scale=100)
    by_hand = [
        Outcome("numbers", regime, seed, metric, "done", {"test": {"top1": value}})
        for regime, values in (("conventional", BASE), ("mine", MINE))
        for seed, value in enumerate(values)
    ]
    assert told["analysis"] == json.loads(json.dumps(analyse(by_hand, claims={"top1": 0.01}).as_dict()))
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "results.csv", "table.csv", "table.tex"]
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [(r["regime"], int(r["seed"]), float(r["value"]), r["metric"]) for r in rows] == [
        (one.regime, one.seed, one.value("test"), "top1") for one in by_hand
    ]
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    for said in (
        "numbers from " + str(file),
        "mine is better than conventional: +1.80 points [",
        "Runs are paired by their seed, as the file says: nobody has checked",
        "Trained elsewhere: nothing is known here but the numbers.",
        f"lerac report {file} --out {out} --metric top1 --goal max --unit % --scale 100.0 --claim 1",
    ):
        assert said in page.words
    assert len(page.pictures) == 2  # seeds and differences
    for said in ("cpu", "float32", "thread", "timings.csv", "is taken to be better", "lerac compare"):
        assert said not in page.words


def test_names_are_free_text_wherever_they_stand(tmp_path, capsys):
    names = [
        "$a$ [bold]",
        "[/x] \\frac{$",
        "对照 <b>&",
        "a name that is as long as it can be, (with one bracket), and then more",
        "_x",
    ]
    file = write(tmp_path / "n.csv", *(f'"{name}",{seed},{seed}.5' for name in names for seed in (0, 1)))
    words = [
        "report",
        str(file),
        "--metric",
        "$m$ [/]",
        "--unit",
        "[b]$",
        "--out",
        str(tmp_path / "r"),
        "--baseline",
        names[0],
    ]
    assert cli.run(words) == 0
    told = capsys.readouterr().out
    assert all(name[:10] in told for name in names)
    page = Page((tmp_path / "r/report.html").read_text(encoding="utf-8"))
    assert all(name in page.words for name in names)
    assert "equal values" not in told


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([*GOOD, "mine,3,0.5"], "line 12: mine seed 3 is already at FILE line 10"),
        (["conventional,0,0.5", "conventional,1,0.5", "mine,7,0.5"], "line 4: mine has a single seed"),
        (["conventional,0,0.5"], "line 2: conventional has a single seed"),
        ([*GOOD, "mine,9,high"], "line 12: value 'high' is no number; of a run that diverged, say so: state=diverged"),
        *(
            ([*GOOD, f'mine,9,"{text}"'], f"line 12: value '{text}' is no number")
            for text in ("", "nan", "inf", "-Infinity", "1_000", "0,91", "91.2%", "0x1p3", "١", "1e", "--1", "True")
        ),
        ([*GOOD, "mine,9," + "9" * 5000], "line 12: value '99999"),
        ([*GOOD, "mine,9,1e400"], "line 12: value '1e400': at most 1e+100 can be compared"),
        *(
            ([*GOOD, f"mine,{text},0.5"], f"line 12: seed '{text[:20]}")
            for text in ("", "-1", "1.0", "one", "1_0", "٣", "9" * 10, "9" * 5000)
        ),
        ([*GOOD[:3], "", "mine,9,0.5,1", *GOOD[3:]], "line 6: it has 4 cells, and the header 3 columns"),
        ([*GOOD, "mine"], "line 12: it has 1 cells, and the header 3 columns"),
        ([*GOOD, ",9,0.5"], "line 12: it names no regime"),
        ([*GOOD, f"{'x' * 81},9,0.5"], "line 12: regime 'xxxx"),
        ([*GOOD, "mi\x1bne,9,0.5"], "line 12: regime 'mi\\x1bne': at most 80 signs that can be printed"),
        ([*GOOD, '"two\nlines",9,0.5'], "line 12: regime 'two\\nlines'"),
        ([*GOOD, '"mine,9,0.5'], "line 12: it is no CSV: unexpected end of data"),
        ([*GOOD, "mi\x00ne,9,0.5"], "line 12: it has a NUL"),
        ([], "line 1: there are no numbers below the header"),
        ([f"mine,{seed},0.5" for seed in range(1001)], "line 1002: mine has more than 1000 seeds"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_line(tmp_path, capsys, lines, says):
    file = write(tmp_path / "numbers.csv", *lines)
    said = refused(capsys, file, "--out", tmp_path / "out", "--baseline", "mine")
    assert f"{file} {says.replace('FILE', str(file))}" in said
    assert len(said) < 400
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("regime;seed;value", "unknown column 'regime;seed;value': columns regime, seed, value were expected"),
        ("regime\tseed\tvalue", "they are separated by commas"),
        ("regime,seed,value,epoch", "unknown column 'epoch'"),
        ("recipe,regime,seed,split,metric,value,epochs,steps", "unknown column 'recipe'"),
        ("regime,seed", "there is no column value"),
        ("regime,seed,value,seed", "the column seed is there twice"),
        ("conventional,0,0.5", "unknown column 'conventional'"),
        ("Regime,seed,value", "unknown column 'Regime'"),
        ("", "there are no"),
    ],
)
def test_a_header_that_is_none(tmp_path, capsys, header, says):
    said = refused(capsys, write(tmp_path / "numbers.csv", *GOOD, header=header), "--out", tmp_path / "out")
    assert says in said or "unknown column 'conventional'" in said
    assert "line 1: " in said or "line 2: " in said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1: there is no column regime"),
        (b"\xef\xbb\xbf", "line 1: there is no column regime"),
        ("\n".join([HEADER, *GOOD]).encode("utf-16"), "line 1: it is not UTF-8 text"),
        ("\n".join([HEADER, *GOOD, "m\xfc,1,2"]).encode("latin-1"), "line 12: it is not UTF-8 text"),
        (b"\x00" * 100, "line 1: it has a NUL"),
        (b"PK\x03\x04" + bytes(range(256)), "line "),
        (b"a" * 200_000, "line 1: "),
        (HEADER.encode() + b"\n" + b'"' + b"a" * 200_000 + b'",1,2', "line 2: it is no CSV: field larger than"),
    ],
)
def test_files_that_are_none(tmp_path, capsys, content, says):
    (tmp_path / "numbers.csv").write_bytes(content)
    assert says in refused(capsys, tmp_path / "numbers.csv", "--out", tmp_path / "out")


def test_a_byte_order_mark_and_line_ends_of_windows_are_read(tmp_path):
    (tmp_path / "n.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([f" {HEADER} ", *GOOD, "", ""]).encode())
    _, outcomes, _ = study_from(tmp_path / "n.csv")
    assert [one.value("test") for one in outcomes] == [*BASE, *MINE]


@given(st.binary(max_size=200) | st.text("regime,sdvalu\n\"'01.;\r\x00é", max_size=80).map(str.encode))
@example(b"regime,seed,value\n")
@settings(deadline=None, max_examples=150)
def test_whatever_is_in_a_file_it_is_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "hostile.csv"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=rf"^{re.escape(str(path))} line \d+: .+$"):
        study_from(path)


@given(st.data())
@settings(deadline=None, max_examples=30)
def test_every_number_arrives_in_any_order_from_any_number_of_files(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("parts")
    number = st.floats(-1e100, 1e100, allow_subnormal=False)
    values = {(regime, seed): data.draw(number) for regime in ("conventional", "ä, b", "c") for seed in (0, 3, 10**8)}
    lines = data.draw(st.permutations([f'"{r}",{seed},{value!r}' for (r, seed), value in values.items()]))
    cut = data.draw(st.integers(1, len(lines) - 1))
    parts = [write(folder / "a.csv", *lines[:cut]), write(folder / "b.csv", *lines[cut:])]
    study, outcomes, baseline = study_from(*parts)
    assert {(one.regime, one.seed): one.value("test") for one in outcomes} == values
    assert baseline == "conventional"
    assert [one.name for one in study.experiments] == ["a"]
    assert study.seeds == [0, 3, 10**8]


def test_experiments_splits_metrics_and_states(tmp_path):
    header = "experiment,regime,seed,split,metric,value,state"
    rows = [
        f"{experiment},{regime},{seed},{split},{metric},{value + seed / 100},"
        for experiment in ("a", "b")
        for regime, value in (("conventional", 0.5), ("mine", 0.6))
        for seed in (0, 1, 2)
        for split in ("test", "validation")
        for metric in ("loss", "top1")
        if (experiment, regime, seed) != ("b", "mine", 2)
    ]
    file = write(tmp_path / "n.csv", *rows, "b,mine,2,test,top1,,diverged", header=header)
    study, outcomes, _ = study_from(file, metric="top1", goal="min")
    assert [one.name for one in study.experiments] == ["a", "b"]
    [diverged] = [one for one in outcomes if one.diverged]
    assert (diverged.experiment, diverged.seed) == ("b", 2)
    assert math.isnan(diverged.value("test"))
    assert outcomes[0].values == {"test": {"loss": 0.5, "top1": 0.5}, "validation": {"loss": 0.5, "top1": 0.5}}
    assert (outcomes[0].metric.goal, outcomes[0].metric.others) == ("min", ("loss",))
    cells = analyse(outcomes).of("b")
    assert (cells[1].failures.diverged, cells[1].summary.difference.n, cells[1].validation.n) == (1, 2, 2)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["a,0,test,0.5,done", "a,0,validation,0.5,diverged"], "line 3: a seed 0 is done at FILE line 2"),
        (["a,0,train,0.5,"], "line 2: split 'train': test or validation was expected"),
        (["a,0,test,0.5,failed"], "line 2: state 'failed': done or diverged was expected"),
        (["a,0,validation,0.5,", "a,1,test,0.5,"], "line 2: a seed 0 has no test value"),
        (["a,0,test,,diverged", "a,0,test,0.5,"], "line 3: a seed 0 is already at FILE line 2"),
    ],
)
def test_what_contradicts_itself(tmp_path, lines, says):
    file = write(tmp_path / "n.csv", *lines, header="regime,seed,split,value,state")
    with pytest.raises(StudyError, match=re.escape(says.replace("FILE", str(file)))):
        study_from(file)


def test_a_number_given_twice_in_two_files_names_both(tmp_path):
    one, other = write(tmp_path / "a.csv", *GOOD), write(tmp_path / "b.csv", GOOD[3])
    with pytest.raises(StudyError, match=r"b\.csv line 2: conventional seed 3 is already at .*a\.csv line 5"):
        study_from(one, other)
    with pytest.raises(StudyError, match=r"a\.csv is named twice"):
        study_from(one, one)


def test_the_metric_that_counts(tmp_path):
    header = "regime,seed,value,metric"
    both = [f"conventional,{seed},0.{seed},{name}" for seed in (1, 2) for name in ("top1", "top5")]
    file = write(tmp_path / "n.csv", *both, header=header)
    with pytest.raises(StudyError, match="say by --metric which of these counts: top1, top5"):
        study_from(file)
    with pytest.raises(StudyError, match="--metric f1: the numbers are of top1, top5"):
        study_from(file, metric="f1")
    assert study_from(file, metric="top5")[1][0].metric.others == ("top1",)
    assert study_from(write(tmp_path / "m.csv", *both[::2], header=header))[1][0].metric.name == "top1"
    plain = write(tmp_path / "o.csv", *GOOD)
    assert [study_from(plain, metric=name)[1][0].metric.name for name in (None, "mAP")] == ["value", "mAP"]


def test_the_baseline_is_conventional_or_asked_for_by_name(tmp_path):
    file = write(tmp_path / "n.csv", *lines_of(**{"plain": BASE, "mine": MINE}))
    with pytest.raises(StudyError, match=r"no regime is called conventional; say by --baseline which .*: plain, mine"):
        study_from(file)
    assert study_from(file, baseline="plain")[2] == "plain"
    with pytest.raises(StudyError, match="baseline nobody is not among the regimes"):
        study_from(file, baseline="nobody")
    assert study_from(write(tmp_path / "m.csv", *GOOD), baseline="mine")[2] == "mine"


@pytest.mark.parametrize(
    ("judged", "says"),
    [
        ({"goal": "more"}, "--goal more: max or min was expected"),
        *(({"scale": scale}, "a number above 0 was expected") for scale in (0.0, -1.0, math.nan, math.inf)),
        *(({"metric": text}, "--metric .*: a short text") for text in ("", " ", "a\nb", "x" * 81)),
        ({"unit": "\x1b[31m"}, "--unit .*: a short text"),
    ],
)
def test_words_that_say_nothing(judged, says):
    with pytest.raises(StudyError, match=says):
        Judged(**judged)


@pytest.mark.parametrize(
    ("lines", "judged", "said"),
    [
        (GOOD, {}, "More value is taken to be better (--goal max), since nobody has said; else: --goal min."),
        (GOOD, {"goal": "max"}, None),
        (GOOD, {"goal": "max", "unit": "%"}, "between 0 and 1, and shown as they are; if they are shares: --scale 100"),
        (GOOD, {"goal": "max", "unit": "%", "scale": 100.0}, None),
        (GOOD, {"goal": "max", "unit": "%", "scale": 1.0}, None),
        (
            [*GOOD[:8], *lines_of(other=MINE[:2])], {"goal": "max"},
            "mine has seeds 0-2, conventional 0-4: the difference is of the 3 seeds that both have.",
        ),
        (
            lines_of(conventional=(1e-8, 2e-8), mine=(2e-8, 3e-8)), {"goal": "max"},
            "All values are within 2e-08 of each other, and differences below 1e-09 count as none",
        ),
    ],
)  # fmt: skip
def test_what_was_taken_for_granted_is_said(tmp_path, lines, judged, said):
    study, _, _ = study_from(write(tmp_path / "n.csv", *lines), **judged)
    first, *others = study.experiments[0].warnings
    assert first.startswith("Runs are paired by their seed, as the file says: nobody has checked")
    assert any(said in one for one in others) if said else not others


@pytest.mark.parametrize(
    ("values", "scale", "text"),
    [
        ((0.912, 0.905), 100.0, "91.20"),
        ((0.912, 0.905), None, "0.9120"),
        ((6.31, 5.9), None, "6.310"),
        ((1234.5, 1234.9), None, "1234.50"),
        ((50_000.0, 60_000.0), None, "50000"),
        ((0.0, 0.0), None, "0"),
        ((1e-12, 2e-12), None, "0.000000000"),
    ],
)  # fmt: skip
def test_as_many_digits_are_shown_as_tell_values_apart(tmp_path, values, scale, text):
    _, outcomes, _ = study_from(write(tmp_path / "n.csv", *lines_of(conventional=values)), scale=scale)
    assert outcomes[0].metric.number(values[0]) == text


def test_where_files_and_folders_may_lie(tmp_path, capsys):
    file = write(tmp_path / "results.csv", *GOOD)
    assert "results.csv there is read, and would be written" in refused(capsys, file, "--out", tmp_path)
    (tmp_path / "s").mkdir()
    (tmp_path / "s/study.json").write_text("{}")
    assert "there is a study, whose report and tables would be lost" in refused(capsys, file, "--out", tmp_path / "s")
    assert "a report is of files, or of folders" in refused(capsys, file, tmp_path / "s")
    assert "missing.csv: No such file" in refused(capsys, tmp_path / "missing.csv")
    assert "holds no study" in refused(capsys, tmp_path / "missing")
    assert "--goal is of numbers in CSV files" in refused(capsys, tmp_path / "s", "--goal", "min")
    assert "is a file, not a folder" in refused(capsys, file, "--out", file)
