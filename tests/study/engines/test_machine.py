import os
import sys
from typing import ClassVar

import pytest
from studies import make_run, make_study

from lerac.study.engines import ENGINES, engine_of, local, machine
from lerac.study.errors import StudyError


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_gpus_by_the_names_that_cuda_takes(four_gpus, monkeypatch):
    assert machine.gpus("cuda") == ["0", "1", "2", "3"]
    assert machine.gpus("cpu") == machine.gpus("cuda:1") == machine.gpus("mps") == []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937, GPU-1a2b3c4d")
    assert machine.gpus("cuda") == ["GPU-8932f937", "GPU-1a2b3c4d"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,3,-1,2")
    assert machine.gpus("cuda") == ["6", "3"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.gpus("cuda") == []


@pytest.mark.parametrize(
    ("taken", "chosen"),
    [([], "a"), (["a"], "b"), (["a", "b"], "a"), (["b"], "a"), (["a", "b", "a"], "b"), ([None], "a")],
)
def test_the_least_busy(taken, chosen):
    assert machine.least_busy(["a", "b"], taken) == chosen
    assert machine.least_busy([], taken) is None


def test_runs_side_by_side_and_who_reads_for_them(four_gpus, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 12)
    assert [machine.side_by_side(device) for device in ("cpu", "cuda", "cuda:2", "mps")] == [12, 4, 1, 1]
    monkeypatch.delenv("LERAC_LOADERS", raising=False)
    assert [machine.loaders_for(workers) for workers in (1, 2, 4, 6, 12, 50)] == [4, 4, 2, 1, 0, 0]
    monkeypatch.setenv("LERAC_LOADERS", "3")
    assert machine.loaders_for(12) == 3
    monkeypatch.setenv("LERAC_LOADERS", "many")
    with pytest.raises(StudyError, match="LERAC_LOADERS must be a number of processes"):
        machine.loaders_for(12)


class Process:
    """Notes the environment that it is born with."""

    born: ClassVar[list["Process"]] = []

    def __init__(self, target, args, daemon):
        assert not daemon  # or it could have no children that read ahead

    def start(self):
        self.environment = dict(os.environ)
        Process.born.append(self)


def test_every_worker_sees_the_gpu_that_fewest_have(four_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.setattr(Process, "born", [])
    context = local.get_context("spawn")
    monkeypatch.setattr(local, "get_context", lambda how: type("", (), {"Pipe": context.Pipe, "Process": Process}))
    [run] = make_study().model_copy(update={"device": "cuda"}).runs()
    crew = []
    for _ in range(3):
        crew.append(local._hire("study", run, 3, crew))
    del crew[1]  # has died
    crew.append(local._hire("study", run, 3, crew))
    assert [p.environment["CUDA_VISIBLE_DEVICES"] for p in Process.born] == ["4", "5", "4", "5"]
    assert {p.environment["OMP_NUM_THREADS"] for p in Process.born} == {"1"}
    assert run.device == "cuda"  # so that results do not depend on which
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5"
    local._hire("study", make_run(), 1, [])
    assert Process.born[-1].environment["CUDA_VISIBLE_DEVICES"] == "4,5"


def test_engines_by_name(monkeypatch):
    assert ENGINES == ("local", "ray")
    assert engine_of("local") is local.train_all
    with pytest.raises(StudyError, match="--engine must be local or ray, got 'slurm'"):
        engine_of("slurm")
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("lerac.study.engines.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"--engine ray needs Ray: pip install 'lerac\[ray\]'"):
        engine_of("ray")
