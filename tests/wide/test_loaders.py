"""Processes that read data ahead for a worker: they are there, change nothing, and end with it."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from processes import children
from small_recipes import small_recipe, write_samples
from studies import untimed

from lerac.study.engines.local import train_all
from lerac.study.plan.study import Study
from lerac.study.runs.run import RunFolder

pytestmark = [pytest.mark.wide, pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")]


class Watch:
    def __init__(self, on_tick):
        self.tick = on_tick

    def started(self, run): ...

    def ended(self, run, failure): ...


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_readers_change_nothing_and_end_with_a_killed_worker(tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.setenv("LERAC_DATA", str(write_samples(tmp_path / "data", "food101")))
    recipe = small_recipe("resnet18/food101", "training.epochs=12")
    [run] = Study(recipes=[recipe], regimes=["lerac"], seeds=[0]).runs()
    before, seen = children(os.getpid()), set()

    def watch_and_kill():
        mine = children(os.getpid()) - before
        if readers := children(*mine):
            seen.update(readers)
            if len(readers) >= 2 and RunFolder(tmp_path / "cut", run).history():
                for pid in mine:
                    if children(pid):
                        os.kill(pid, signal.SIGKILL)

    monkeypatch.setenv("LERAC_LOADERS", "2")
    [failure] = train_all(tmp_path / "cut", [run], workers=1, progress=Watch(watch_and_kill))
    assert failure.reason == "the worker process died (killed by SIGKILL)"
    deadline = time.monotonic() + 20
    while any(map(alive, seen)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [pid for pid in seen if alive(pid)] == []
    assert 0 < len(RunFolder(tmp_path / "cut", run).history()) < 12

    monkeypatch.setenv("LERAC_LOADERS", "2")
    assert train_all(tmp_path / "cut", [run], workers=1, progress=Watch(lambda: None)) == []
    monkeypatch.setenv("LERAC_LOADERS", "0")
    none = set()
    look = Watch(lambda: none.update(children(*(children(os.getpid()) - before))))
    assert train_all(tmp_path / "whole", [run], workers=1, progress=look) == []
    assert none == set()
    cut, whole = (RunFolder(tmp_path / name, run) for name in ("cut", "whole"))
    assert untimed(cut.history()) == untimed(whole.history())
    assert cut.status()["test"] == whole.status()["test"]
