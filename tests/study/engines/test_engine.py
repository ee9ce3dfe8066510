import os
import signal
from pathlib import Path

import pytest
from processes import children
from studies import make_run, make_study, train_here

from lerac.study.engines import machine
from lerac.study.engines.local import train_all
from lerac.study.own.processes import born_with
from lerac.study.plan.study import Run
from lerac.study.runs.folder import write_tables
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder


class Watch:
    """Notes what it is told; calls `on_tick` with itself."""

    def __init__(self, on_tick=lambda watch: None):
        self.running, self.outcomes, self.most, self.on_tick = [], {}, 0, on_tick

    def started(self, run: Run) -> None:
        self.running.append(run)
        self.most = max(self.most, len(self.running))

    def ended(self, run: Run, failure: str | None) -> None:
        self.running.remove(run)
        self.outcomes[str(run)] = failure

    def tick(self) -> None:
        self.on_tick(self)


@pytest.mark.wide
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the worker in /proc")
def test_failed_runs_and_killed_workers_stop_no_other_run_and_change_no_byte(tmp_path):
    """One worker, of which the first run fails and the second is killed; then two, which continue both."""
    before = children(os.getpid())
    study = make_study("lerac", seeds=(0, 1, 2), epochs=30)
    bad, victim, good = study.runs()
    path = tmp_path / bad.folder / "checkpoint.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no checkpoint")

    def kill(watch):
        if watch.running == [victim] and RunFolder(tmp_path, victim).history():
            for pid in children(os.getpid()) - before:
                if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)

    watch = Watch(kill)
    failed, killed = train_all(tmp_path, study.runs(), workers=1, progress=watch)
    assert watch.most == 1
    assert watch.outcomes == {str(bad): failed.reason, str(victim): killed.reason, str(good): None}
    assert failed.run == bad
    assert "\n" not in failed.reason
    assert failed.reason.endswith("checkpoint.pt cannot be read; delete it to train this run from the start")
    assert "Traceback" in RunFolder(tmp_path, bad).error()
    assert killed.run == victim
    assert killed.reason == "the worker process died (killed by SIGKILL)"
    assert RunFolder(tmp_path, victim).error().startswith(killed.reason)
    assert 0 < len(RunFolder(tmp_path, victim).history()) < 30
    assert RunFolder(tmp_path, good).status()["state"] == "done"

    path.unlink()
    watch = Watch()
    assert train_all(tmp_path, [bad, victim], workers=2, progress=watch) == []
    assert watch.most == 2
    assert RunFolder(tmp_path, bad).error() is None
    write_tables(tmp_path, collect(tmp_path, study.runs()))
    here = train_here(tmp_path / "here", study)
    assert (tmp_path / "results.csv").read_bytes() == (here / "results.csv").read_bytes()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the worker in /proc")
def test_an_interrupt_ends_the_workers_at_once(tmp_path):
    before = children(os.getpid())
    run = make_run(epochs=100_000)

    def interrupt(watch):
        if RunFolder(tmp_path, run).history():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_all(tmp_path, [run], workers=1, progress=Watch(interrupt))
    left = [
        p for p in children(os.getpid()) - before if "resource_tracker" not in Path(f"/proc/{p}/cmdline").read_text()
    ]
    assert left == []
    assert RunFolder(tmp_path, run).status() is None


def test_workers_are_born_with_the_threads_of_the_run_and_the_parent_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with born_with(machine.variables(3, 2)):
        assert {os.environ[name] for name in machine.THREADS} == {"3"}
        assert os.environ["LERAC_LOADERS"] == "2"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_nothing_to_train(tmp_path):
    assert train_all(tmp_path, [], workers=2, progress=Watch()) == []
