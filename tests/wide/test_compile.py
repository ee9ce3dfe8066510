"""A compiled network: the same rates, results within rounding, and checkpoints that fit a plain one."""

import os
import subprocess
import sys
import time

import pytest
import torch

from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import load_recipe
from lerac.study.training.training import Training

pytestmark = [pytest.mark.wide, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SMALL = ("data.train=90", "data.validation=40", "data.test=60", "training.batch_size=32", "training.epochs=2")


def make_run(recipe, regime, *overrides):
    loaded = load_recipe(recipe, [*SMALL, "lerac.k=1", "cbs.every=1", "optimizer.lr=0.01", *overrides])
    [run] = Study(recipes=[loaded], regimes=[regime], seeds=[0]).runs()
    return run


def watched(run):
    """Train, and give the training and the rates before every optimizer step."""
    training, rates = Training(run), []
    end_step = training._end_step

    def watch():
        if training._curriculum:
            rates.append(training._curriculum.lrs())
        end_step()

    training._end_step = watch
    while not training.over:
        training.run_epoch()
    return training, rates


@pytest.mark.parametrize(("recipe", "regime", "overrides"), [
    ("small-cnn/digits", "conventional", ()),
    ("small-cnn/digits", "lerac", ("training.accumulate=2",)),
    ("lenet/digits", "cbs+lerac", ()),
])  # fmt: skip
def test_a_compiled_training_is_the_plain_one_within_rounding(recipe, regime, overrides):
    torch._dynamo.reset()
    plain, rates = watched(make_run(recipe, regime, *overrides))
    compiled, its_rates = watched(make_run(recipe, regime, "training.compile=true", *overrides))
    assert rates == its_rates
    assert compiled._trained is not compiled.network
    state, its_state = plain.state_dict(), compiled.state_dict()
    for part in ("network", "best_weights"):
        assert state[part].keys() == its_state[part].keys()
    for name, tensor in state["network"].items():
        torch.testing.assert_close(its_state["network"][name], tensor, rtol=1e-2, atol=1e-3)
    for one, other in zip(plain.history, compiled.history, strict=True):
        assert other["validation_loss"] == pytest.approx(one["validation_loss"], rel=1e-2)
    uncompiled = Training(make_run(recipe, regime, *overrides))
    uncompiled.load_state_dict(its_state)  # a checkpoint does not say how it was made
    assert uncompiled.measure(uncompiled.test_split).loss == compiled.measure(compiled.test_split).loss


def test_a_compiled_run_is_continued_where_it_was():
    run = make_run("small-cnn/digits", "lerac", "training.compile=true")
    whole, _ = watched(run)
    first = Training(run)
    first.run_epoch()
    continued = Training(run)
    continued.load_state_dict(first.state_dict())
    continued.run_epoch()
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(continued.network.state_dict()[name], tensor), name


def test_a_process_compiles_in_a_folder_of_its_own(tmp_path):
    """In one that several share, half a library of a process that was killed would spoil the runs of all."""
    shared, own = tmp_path / "shared", tmp_path / "own"
    own.mkdir()
    command = [sys.executable, "-m", "lerac", "train", "digits", "--regime", "conventional", "--seed", "0"]
    less = ("training.epochs=1", "training.batch_size=45", "training.compile=true")  # a single graph
    command += [word for override in (*SMALL, *less) for word in ("--set", override)]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(shared), "TMPDIR": str(own)}
    process = subprocess.Popen([*command, "--out", str(tmp_path / "study")], env=environment)
    compiled = False
    while process.poll() is None:
        compiled |= any(own.glob("lerac-compiled-*/**/*.so"))
        time.sleep(0.05)
    assert process.returncode == 0
    assert compiled
    assert not list(shared.rglob("*.so"))
    assert list(own.glob("lerac-compiled-*")) == []  # nothing is left over
