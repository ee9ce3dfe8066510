"""The Ray engine on a real cluster of this machine."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from studies import make_run, make_study, train_here

from lerac.study.engines import engine_of
from lerac.study.errors import StudyError
from lerac.study.runs.folder import write_study, write_tables
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.wide,
    # Ray leaves these to the interpreter's end, and says what future versions will do.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]


class Watch:
    def __init__(self, on_tick=lambda watch: None):
        self.started_runs, self.outcomes, self.on_tick = [], {}, on_tick

    def started(self, run):
        self.started_runs.append(run)

    def ended(self, run, failure):
        self.outcomes[str(run)] = failure

    def tick(self):
        self.on_tick(self)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield
    ray.shutdown()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def workers_that_train() -> list[int]:
    """Of our cluster; there may be others on this machine."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            pid = int(line.parent.name)
            if b"ray::_attempt_there" in line.read_bytes() and parent_of(parent_of(pid)) == os.getpid():
                found.append(pid)
        except OSError:
            continue
    return found


def test_the_same_bytes_and_a_failed_run_stops_no_other(tmp_path):
    study = make_study("conventional", "lerac", seeds=(0, 1))
    here = train_here(tmp_path / "here", study)
    folder, runs, watch = tmp_path / "there", study.runs(), Watch()
    write_study(folder, study)
    broken = folder / runs[1].folder / "checkpoint.pt"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no checkpoint")
    [failure] = engine_of("ray")(folder, runs, workers=None, progress=watch)
    assert failure.run == runs[1]
    assert failure.reason.endswith("checkpoint.pt cannot be read; delete it to train this run from the start")
    assert "Traceback" in RunFolder(folder, runs[1]).error()
    assert watch.started_runs == runs
    assert [outcome for outcome in watch.outcomes.values() if outcome] == [failure.reason]
    broken.unlink()
    assert engine_of("ray")(folder, runs, workers=1, progress=Watch()) == []
    write_tables(folder, collect(folder, runs))
    assert (folder / "results.csv").read_bytes() == (here / "results.csv").read_bytes()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the worker in /proc")
def test_a_run_whose_process_is_killed_is_handed_out_again_and_at_last_given_up(tmp_path):
    run, killed = make_run(epochs=150), []

    def kill(watch, times):
        if len(killed) < times and RunFolder(tmp_path, run).history():
            for pid in workers_that_train():
                if pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    assert engine_of("ray")(tmp_path, [run], workers=1, progress=Watch(lambda w: kill(w, 1))) == []
    assert len(killed) == 1
    assert RunFolder(tmp_path, run).status()["state"] == "done"

    endless = make_run(epochs=100_000)
    run, killed = endless, []
    [failure] = engine_of("ray")(tmp_path, [endless], workers=1, progress=Watch(lambda w: kill(w, 9)))
    assert len(killed) == 4
    assert failure.reason.startswith("the worker process died (WorkerCrashedError")
    assert RunFolder(tmp_path, endless).error().startswith(failure.reason)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the worker in /proc")
def test_an_interrupt_ends_the_tasks(tmp_path):
    run = make_run(epochs=100_000)

    def interrupt(watch):
        if RunFolder(tmp_path, run).history():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine_of("ray")(tmp_path, [run], workers=1, progress=Watch(interrupt))
    deadline = time.monotonic() + 20
    while workers_that_train() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers_that_train() == []


def test_a_node_that_does_not_see_the_folder_or_has_another_version(tmp_path, monkeypatch):
    from lerac.study.engines import ray as engine

    run = make_run(epochs=1)
    monkeypatch.setattr(engine, "write_text", lambda path, text: None)
    with pytest.raises(StudyError, match=r"does not see the folder .*choose an --out that all nodes share"):
        engine.train_all(tmp_path, [run], workers=None, progress=Watch())
    monkeypatch.setattr("lerac.__version__", "9.9")
    with pytest.raises(StudyError, match=r"has lerac 0\..*, not 9.9; install it there"):
        engine.train_all(tmp_path, [run], workers=None, progress=Watch())


def test_what_no_node_has_room_for(tmp_path, monkeypatch):
    train_all = engine_of("ray")
    gpu = make_study().model_copy(update={"device": "cuda"}).runs()
    with pytest.raises(StudyError, match="no node of the Ray cluster has 1 CPU and 1 GPU"):
        train_all(tmp_path, gpu, workers=None, progress=Watch())
    one = make_study().model_copy(update={"device": "cuda:1"}).runs()
    with pytest.raises(StudyError, match="Ray chooses which GPU, got --device cuda:1"):
        train_all(tmp_path, one, workers=None, progress=Watch())
    monkeypatch.setenv("LERAC_LOADERS", "7")
    with pytest.raises(StudyError, match="no node of the Ray cluster has 8 CPU"):
        train_all(tmp_path, [make_run()], workers=None, progress=Watch())
    assert train_all(tmp_path, [], workers=None, progress=Watch()) == []
