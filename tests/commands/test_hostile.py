"""What comes from files reaches neither terminal nor spreadsheet as it is, and Ctrl-C ends at once."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import lerac.__main__
from lerac.cli import run
from lerac.study.data.audio.esc50 import Clips, _take
from lerac.study.data.pictures.listing import read_xml
from lerac.study.data.places import read_marker
from lerac.study.errors import StudyError, printable
from lerac.study.files import write_text
from lerac.study.models.weights import _read_pickle
from lerac.study.runs.folder import csv_text

STEERING = ["\x1b[2J", "\x07", "\x9b31m", "\u202e", "\x00", "\x7f", "\r", "\udcff", "\u2028"]


def refused(capsys, *arguments) -> str:
    assert run(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "lerac: ")
    assert err[:-1].isprintable()
    return err


@pytest.mark.parametrize("sign", STEERING, ids=ascii)
def test_no_sign_of_a_file_or_name_steers_a_terminal(tmp_path, capsys, monkeypatch, sign):
    monkeypatch.chdir(tmp_path)
    assert printable(f"a{sign}b").isprintable()
    refused(capsys, "report", f"no{sign}where".replace("\x00", "\x01"))
    refused(capsys, "compare", "digits", "--regimes", f"le{sign}rak")
    Path("study").mkdir()
    Path("study/study.json").write_text(json.dumps({"version": 1, f"a{sign}": f"{sign}", "recipes": []}))
    refused(capsys, "report", "study")
    Path("study/study.json").write_text(json.dumps({"recipes": [], "regimes": [f"{sign}"], "seeds": [0]}))
    said = refused(capsys, "report", "study")
    assert "no sign may be one that cannot be printed" in said or "surrogate" in said  # which is no JSON either


def test_texts_in_many_languages_are_left_as_they_are():
    assert printable("ä σ ± – 学习 ∞ 🙂 'a'") == "ä σ ± – 学习 ∞ 🙂 'a'"


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes")
def test_a_path_that_is_not_utf_8_is_named_and_is_no_traceback(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    strange = os.fsdecode(b"rec\xff.toml")
    assert run(["recipes", "show", "digits"]) == 0
    Path(strange).write_text(capsys.readouterr().out)
    said = refused(capsys, "compare", strange, "--plan")
    assert "this study cannot be written down" in said
    assert r"rec\udcff.toml" in said


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes")
def test_in_a_folder_that_is_not_utf_8_the_cause_of_a_failure_is_that_of_the_failure(tmp_path, monkeypatch, capsys):
    write_text(tmp_path / "error.txt", os.fsdecode(b"Traceback of \xff"))
    assert (tmp_path / "error.txt").read_text() == r"Traceback of \udcff"
    monkeypatch.chdir(tmp_path)
    out = os.fsdecode(b"st\xffudy")
    small = [word for key in ("training.epochs=1", "data.train=60", "data.validation=20", "data.test=20", "lerac.k=1")
             for word in ("--set", key)]  # fmt: skip
    command = ["compare", "digits", "--regimes", "conventional", "--seeds", "1", "--workers", "1", *small, "--out", out]
    assert run([*command, "--plan", "--json"]) == 0
    [folder] = [one["folder"] for one in json.loads(capsys.readouterr().out)]
    (Path(out) / folder).mkdir(parents=True)
    (Path(out) / folder / "checkpoint.pt").write_bytes(b"none")
    ended = subprocess.run([sys.executable, "-m", "lerac", *command], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "checkpoint.pt cannot be read; delete it to train this run from the start" in ended.stderr
    assert "memory" not in ended.stderr


def test_no_text_in_a_table_is_a_formula_and_no_number_is_changed():
    texts = ["=1+1", "+A1", "-A1", "@SUM(A1)", "\tx", "\rx", "small-cnn/digits", "lerac(k=3)", ""]
    numbers = ["-3.100", "+1.5e-07", "-inf", -1, -0.5, 1e-300, float("nan"), float("-inf"), None, 3, True]
    rows = list(csv.reader(io.StringIO(csv_text(("a",), [texts, numbers]), newline="")))
    assert rows[1][:4] == ["'=1+1", "'+A1", "'-A1", "'@SUM(A1)"]
    assert rows[1][4:] == [r"\tx", r"\rx", *texts[6:]]
    assert rows[2] == ["-3.100", "+1.5e-07", "-inf", "-1", "-0.5", "1e-300", "nan", "-inf", "", "3", "True"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "a" + ".a" * 900 + "=1"], "lie deeper in each other than 16 levels"),
        (["--set", "network=" + "[" * 900 + "]" * 900], "nested too deeply"),
        (["--set", "network=" + "[" * 100 + "]" * 100], "lie deeper in each other than 16 levels"),
        (["--set", "network=" + "{a=" * 200 + "1" + "}" * 200], "deep"),
        (["--set", "optimizer.lr=1e308"], "optimizer.lr: input should be less than or equal to"),
        (["--regimes", "conventional(lr=1e308)"], "lr takes a learning rate above 0, at most 1e+30, got '1e308'"),
        (["--set", "training.epochs=" + "9" * 5000], "training.epochs"),
        (["--seeds", "9" * 5000], "is too large"),
    ],
)
def test_numbers_and_depths_that_nobody_means_are_one_line(capsys, arguments, says):
    assert says in refused(capsys, "compare", "digits", *arguments, "--plan")


def test_files_of_data_and_weights_that_nobody_wrote_are_one_line(tmp_path):
    (tmp_path / "a.xml").write_bytes(b"<?xml version='1.0' encoding='klingon'?><a/>")
    (tmp_path / "b.xml").write_bytes(b"<?xml version='1.0' encoding='utf-7'?><a/>")
    for name in ("a.xml", "b.xml"):
        with pytest.raises(StudyError, match="cannot be read as XML"):
            read_xml(tmp_path / name)
    row = {"filename": "1-100032-A-0.wav", "fold": "1" * 5000, "target": "0", "category": "dog"}
    for strange in ("1" * 5000, "²", "٣", "-1", "1.0"):
        with pytest.raises(StudyError, match="fold must be 1 to 5"):
            _take(Clips([], [], [], [], []), {**row, "fold": strange}, "line 2")
    for deep in ("[" * 10**5, '{"a":' * 10**5, "1" * 5000, "null"):
        (tmp_path / "lerac-sample.json").write_text(deep)
        with pytest.raises(StudyError, match="is damaged; again"):
            read_marker(tmp_path, "again")
    for strange in ({1: torch.zeros(2)}, {(): torch.zeros(1)}, {"a": 1}, [1]):
        torch.save(strange, tmp_path / "weights.pth")
        with pytest.raises(StudyError, match=r"must hold tensors by name|cannot be read as weights"):
            _read_pickle(tmp_path / "weights.pth")


def test_parquet_with_metadata_that_nobody_knows_is_one_line(tmp_path, monkeypatch):
    datasets, pa, pq = (pytest.importorskip(name) for name in ("datasets", "pyarrow", "pyarrow.parquet"))
    from lerac.study.data.hub import hub_table

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for number, info in enumerate(
        ('{"info": {"features": {"a": {"_type": "Klingon"}}}}', '{"info": 3}', "[", '{"info": {"features": {"a": 3}}}')
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        table = pa.table({"a": pa.array([1, 2])}).replace_schema_metadata({"huggingface": info})
        pq.write_table(table, folder / "train-0.parquet")
        with pytest.raises(StudyError) as error:
            hub_table(folder, "train", ["a"])
        assert "cannot be read" in str(error.value)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_while_libraries_load_is_one_line_and_130():
    choose = random.Random(0)
    for command in (["layers", "lenet"], ["compare", "digits", "--plan"]) * 2:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import sys, lerac.__main__ as m; print(flush=True); sys.argv[1:] = {command}; m.main()",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        process.stdout.readline()
        time.sleep(choose.uniform(0.3, 1.2))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) in [
            (130, "lerac: interrupted; the same command continues where it stopped\n"),
            (0, ""),  # it was faster
        ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="devices")
@pytest.mark.parametrize(
    ("shell", "code", "says"),
    [
        (">&-", 2, "lerac: stdout is closed; to see nothing, send it to /dev/null\n"),
        (">&- 2>&-", 2, ""),
        (">/dev/full", 2, "lerac: file: No space left on device\n"),
        ("2>&- >/dev/null", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full(shell, code, says):
    command = f"exec '{sys.executable}' -m lerac recipes show digits {shell}"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (code, says)


def test_a_reader_who_has_left_is_no_traceback():
    command = f"'{sys.executable}' -m lerac recipes show digits; echo $? >&2"
    ended = subprocess.run(["sh", "-c", f"({command}) | true"], capture_output=True, text=True, timeout=60)
    assert ended.stderr in ("lerac: file: Broken pipe\n2\n", "1\n", "0\n")


def test_who_ignores_ctrl_c_goes_on_ignoring_it(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        monkeypatch.setattr(lerac.__main__, "_main", lambda: 0)
        with pytest.raises(SystemExit):
            lerac.__main__.main()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
