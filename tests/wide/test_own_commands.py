"""Commands that are trainings: with lerac.attach, under torchrun, as timm's script; their studies killed and on Ray."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from killing import ended, same, wait_until
from processes import gone, group, mentioning

pytestmark = [
    pytest.mark.wide,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.name != "posix", reason="shell scripts"),
]
ROOT = Path(__file__).parents[2]
PYTHON = shlex.quote(sys.executable)
# With one process, or several that share each batch out.
TRAINING = """
import argparse, json, os, pathlib, torch, torch.distributed as dist, lerac
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int)
parser.add_argument("--out", type=pathlib.Path)
args = parser.parse_args()
if "RANK" in os.environ:
    dist.init_process_group("gloo")
rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
torch.manual_seed(args.seed)
x = torch.randn(64, 6)
y = (x[:, 0] * x[:, 1] > 0).long()
model = net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
if ranks > 1:
    model = nn.parallel.DistributedDataParallel(net)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
lerac.attach(optimizer, model, epoch_steps=4, epochs=3)
for epoch in range(3):
    for batch in torch.randperm(64).split(16):
        batch = batch[rank::ranks]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
loss = nn.functional.cross_entropy(net(x), y).item()
if rank == 0:
    (args.out / "result.json").write_text(json.dumps({"loss": loss, "ranks": ranks}))
if ranks > 1:
    dist.destroy_process_group()
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def start(command, *words, out="study"):
    options = ["--command", command, *map(str, words), "--out", out]
    return subprocess.Popen(
        [sys.executable, "-m", "lerac", "compare", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def compare(command, *words, out="study"):
    process = start(command, *words, out=out)
    said, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return " ".join(said.split())


def values(folder):
    with (folder / "results.csv").open() as file:
        return {(r["regime"], r["seed"], r["metric"]): float(r["value"]) for r in csv.DictReader(file)}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="ends processes in sessions of their own by /proc")
def test_a_script_under_torchrun_is_paired_and_trained_as_in_one_process():
    Path("train.py").write_text(TRAINING)
    words = ["--results", "{folder}/result.json", "--metric", "loss", "--goal", "min", "--workers", "1",
             "--seeds", "1", "--regimes", "conventional,lerac(k=2)", "--paired", "require"]  # fmt: skip
    script = "train.py --seed {seed} --out {folder}"
    torchrun = f"{PYTHON} -m torch.distributed.run --standalone --nproc-per-node 2 {script}"
    one, two = Path("one"), Path("two")
    for command, out in ((f"{PYTHON} {script}", one), (torchrun, two)):
        assert "not paired" not in compare(command, *words, out=str(out))
    single, shared = values(one), values(two)
    assert {key[2]: value for key, value in shared.items() if key[2] == "ranks"} == {"ranks": 2}
    for key, value in single.items():
        if key[2] == "loss":
            assert shared[key] == pytest.approx(value, rel=1e-4)
    assert len({value for key, value in single.items() if key[2] == "loss"}) == 2
    for note in two.rglob("attach.json"):
        [attached] = json.loads(note.read_text())["attached"]
        assert (attached["steps"], attached["ended"]) == (12, True)
        assert attached["weights"]
        assert attached["batch"]
    assert len([*two.rglob("attach.json")]) == 2


def test_timms_script_is_compared_by_arms():
    pytest.importorskip("timm")
    script = ROOT / "examples/compare/timm_train.py"
    said = compare(
        f"{PYTHON} {shlex.quote(str(script))} --seed {{seed}} --output {{folder}} --epochs 1 {{arm}}",
        *["--arm", "conventional=", "--arm", "warmup=--warmup-epochs 1", "--arm", "clip=--clip-grad 1"],
        *["--results", "{folder}/summary.csv", "--metric", "eval_top1", "--unit", "%", "--seeds", "2"],
    )
    assert "timm_train.py, not paired: could not be checked" in said
    found = values(Path("study"))
    assert {key[2] for key in found} == {"epoch", "train_loss", "eval_loss", "eval_top1"}
    top1 = {key[:2]: value for key, value in found.items() if key[2] == "eval_top1"}
    assert len(top1) == 6
    assert len(set(top1.values())) > 3  # the arms do arrive


# Twelve steps of a moment, each of which leaves a line; its result says whether each was taken once.
STEPS = """
echo "$OMP_NUM_THREADS threads"
while [ "$(cat "$2/steps" 2>/dev/null | wc -l)" -lt 12 ]; do sleep 0.03; echo "$1" >> "$2/steps"; done
echo "{\\"top1\\": $(( $1 * 10 + ${3:-0} + $(wc -l < "$2/steps") ))}" > "$2/result.json"
"""
SHELL = "sh run.sh {seed} {folder}"
WORDS = ["--results", "{folder}/result.json", "--metric", "top1", "--arm", "conventional=0", "--arm", "larger=3"]


def steps(folder):
    return sum(len(file.read_text().split()) for file in folder.rglob("steps"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_killed_or_on_ray_a_study_of_a_shell_script_ends_in_the_same_bytes():
    Path("run.sh").write_text(STEPS)
    words = [*WORDS, "--seeds", "3"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
    compare(SHELL, *words, "--workers", "1", "--threads", "3", out="whole")
    assert {file.read_text() for file in Path("whole").rglob("output.txt")} == {"3 threads\n"}
    killed, ray = Path("killed"), Path("ray")
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        before = steps(killed)
        process = start(SHELL, *words, "--workers", "2", out=str(killed))
        wait_until(lambda before=before: steps(killed) > before, process)
        os.killpg(process.pid, number)
        _, err = process.communicate()
        assert gone(*group(process.pid))
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert err.endswith("lerac: interrupted; the same command continues where it stopped\n")
        assert gone(*mentioning(str(killed.absolute())))  # scripts, which have sessions of their own
    assert ended(killed) < 6
    compare(SHELL, *words, "--workers", "2", out=str(killed))
    assert same(killed, Path("whole"))
    pytest.importorskip("ray")
    compare(SHELL, *words, "--engine", "ray", out=str(ray))
    assert same(ray, Path("whole"))
