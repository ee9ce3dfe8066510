"""Nothing that a command has started outlives its run, or the process that waits for it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import alive, gone

pytestmark = [pytest.mark.wide, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

# A child in a session of its own, as those of torchrun are, which does not listen to SIGTERM; its number is written.
SCRIPT = """
STARTS='import subprocess; print(subprocess.Popen(["sleep", "300"], start_new_session=True).pid, flush=True)'
sh -c 'trap "" TERM; echo $$ > "$0/child.new"; mv "$0/child.new" "$0/child"; sleep 300' "$2" &
"$3" -c "$STARTS" > "$2/own"
while [ ! -e "$2/child" ]; do sleep 0.05; done
mv "$2/own" "$2/session"
"""
WORKER = """
import sys
from pathlib import Path
from lerac.study.engines.worker import attempt
from lerac.study.own.command.request import request_command
from lerac.study.own.request import Judged
study = request_command("sh run.sh {seed} {folder} " + sys.executable, "{folder}/result.json", {"a": []},
    regimes="", seeds=[0], values={}, judged=Judged("top1"))
print(attempt(Path("out"), study.runs()[0]))
"""


def started(script: str) -> subprocess.Popen:
    Path("run.sh").write_text(SCRIPT + script)
    Path("out").mkdir()
    return subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True)


def numbers() -> list[int]:
    """The children of the command, when both are there."""
    for _ in range(2400):
        if found := list(Path("out").rglob("session")):
            return [int(found[0].with_name(name).read_text()) for name in ("child", "session")]
        time.sleep(0.05)
    raise AssertionError("the command has not begun")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_takes_all_with_it(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    worker = started("sleep 300")
    children = numbers()
    os.kill(worker.pid, number)
    worker.communicate()
    assert gone(*children)


def test_a_command_that_ends_leaves_nobody_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worker = started('echo "{\\"top1\\": 1}" > "$2/result.json"')
    children = numbers()
    said, _ = worker.communicate(timeout=120)
    assert said == "Answer(failure=None, hopeless=False, died=False)\n"
    assert not any(map(alive, children))
