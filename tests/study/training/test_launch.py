"""What a launcher's environment means, and what is refused there."""

import pytest
from studies import make_run, make_study

from lerac.cli import run as cli
from lerac.study.errors import StudyError
from lerac.study.plan.request import request_study
from lerac.study.training.accelerator import build_accelerator
from lerac.study.training.launch import is_main, launched_processes


@pytest.fixture
def launched(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)

    def of(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return of


def test_processes_are_those_that_the_launcher_announces(launched):
    assert (launched_processes(), is_main()) == (1, True)
    launched(RANK="3")  # of a job that is none of ours
    assert (launched_processes(), is_main()) == (1, True)
    launched(WORLD_SIZE="4")
    assert (launched_processes(), is_main()) == (4, False)
    launched(RANK="0")
    assert (launched_processes(), is_main()) == (4, True)


@pytest.mark.parametrize("count", ["", "two", "0", "-1"])
def test_a_number_of_processes_that_is_none_is_refused(launched, capsys, tmp_path, count):
    launched(WORLD_SIZE=count)
    assert cli(["train", "digits", "--regime", "lerac", "--seed", "0", "--out", str(tmp_path)]) == 2
    assert f"WORLD_SIZE must be a number of processes, as launchers set it, got {count!r}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_that_has_started_fewer_than_asked_for_is_noticed(launched, capsys, tmp_path):
    launched(MASTER_ADDR="127.0.0.1", ACCELERATE_MIXED_PRECISION="no")
    assert cli(["train", "digits", "--regime", "lerac", "--seed", "0", "--out", str(tmp_path)]) == 2
    assert "asked for several processes and has started one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_compare_is_not_done_by_several_processes(launched, capsys, tmp_path):
    launched(WORLD_SIZE="2", RANK="1")
    assert cli(["compare", "digits", "--out", str(tmp_path)]) == 2
    assert "lerac compare cannot be done by 2 processes of a launcher together" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("device", "override", "message"), [
    ("cpu", "training.batch_size=3", "small-cnn/digits: 4 processes cannot share batches of 3 examples"),
    ("meta", "training.epochs=1", "--device meta cannot be used"),
])  # fmt: skip
def test_processes_need_an_example_and_a_device_each(device, override, message):
    with pytest.raises(StudyError) as refused:
        request_study(["digits"], "conventional", [0], [override], None, device, processes=4)
    assert message in str(refused.value)


def test_the_number_of_processes_is_part_of_a_configuration_if_there_are_several():
    assert "processes" not in make_run().configuration()
    assert make_run(processes=2).configuration()["processes"] == 2
    assert len({make_run(processes=count).folder for count in (1, 2, 3)}) == 3
    with pytest.raises(StudyError, match="it has processes 1, now asked for 2"):
        make_study().extend(make_study(processes=2))


def test_a_run_for_several_processes_is_not_trained_by_one():
    with pytest.raises(StudyError, match="is for 2 processes, and here are 1: start it by accelerate launch"):
        build_accelerator(make_run(processes=2))
