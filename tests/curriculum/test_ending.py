"""What is said, once, of a curriculum that goes and was of no use; and when nothing is."""

import copy
import gc
import pickle
import signal
import subprocess
import sys
import textwrap
import warnings
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import layers_of, make_net, train

import lerac
from lerac.curriculum import UnfinishedWarning, ending

NEVER, EARLY, EPOCHS = "never acted", "training was over before LeRaC was", "epochs were meant"


@pytest.fixture(autouse=True)
def _curricula_go_quietly(monkeypatch):
    """Here they do not; but what other tests have left goes first, and nothing was told."""
    gc.collect()
    monkeypatch.setattr(ending, "_told", set())
    for name in ("last_exc", "last_value"):
        monkeypatch.delattr(sys, name, raising=False)


def told(program):
    """Run a program and let everything of it go; give what was said."""
    ending._told.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        program()
        gc.collect()
    return [warning for warning in caught if issubclass(warning.category, UnfinishedWarning)]


LAYERS = layers_of(make_net())


def build(k):
    model = make_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, optimizer, lerac.LeRaC(optimizer, model, k=k, layers=LAYERS)


@settings(max_examples=25, deadline=None)
@given(
    k=st.integers(1, 12),
    steps=st.integers(0, 14),
    what=st.sampled_from(["", "remove", "rebuild", "copy", "pickle", "load", "loaded", "error", "again"]),
)
def test_what_is_said_follows_from_the_steps_that_were_taken(k, steps, what):
    def program():
        model, optimizer, curriculum = build(k)
        if what == "rebuild":
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if what == "loaded":
            other = build(k)
            train(other[0], other[1], range(k))
            optimizer.load_state_dict(other[1].state_dict())
        train(model, optimizer, range(steps))
        if what == "remove":
            curriculum.remove()
        if what in ("copy", "pickle"):
            everything = (model, optimizer, curriculum)
            copied = copy.deepcopy(everything) if what == "copy" else pickle.loads(pickle.dumps(everything))
            train(model, optimizer, range(steps, k))
            assert copied[2].steps == min(steps, k)
        if what == "load":
            state = copy.deepcopy(optimizer.state_dict())
            for group in state["param_groups"]:
                group["lerac_step"] = k
            optimizer.load_state_dict(state)
        if what == "again":
            build(k)  # by another call from the same line: the first was a trial

    caught = told(program)
    never = steps == 0 or what in ("rebuild", "again")
    quiet = what in ("remove", "copy", "pickle", "load", "loaded") or (steps >= k and what not in ("rebuild", "again"))
    assert len(caught) == (0 if quiet else 1)
    for warning in caught:
        assert (NEVER if never else EARLY) in str(warning.message)
        assert (never and what != "") or f"{steps} of k={k}" in str(warning.message) or steps == 0
        assert warning.filename == __file__


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize(("k", "steps", "says"), [(5, 49, False), (5, 60, True), (1, 10, True), (21, 300, False)])
def test_a_k_in_epochs_is_told_by_how_long_training_was(kind, k, steps, says):
    def program():
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        optimizer = kind(model.parameters(), lr=0.1)
        lerac.LeRaC(optimizer, model, k=k)
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()

    caught = told(program)
    assert [EPOCHS in str(warning.message) for warning in caught] == [True] * says
    if says:
        assert f"about {steps} steps" in str(caught[0].message)


@settings(max_examples=25, deadline=None)
@given(
    regime=st.sampled_from(["lerac", "warmup", "lerac-reversed", "conventional"]),
    k=st.integers(1, 3),
    steps=st.integers(0, 9),
    removed=st.booleans(),
)
def test_a_regime_that_is_attached_is_looked_after_too(regime, k, steps, removed):
    def program():
        model = make_net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        text = regime if regime == "conventional" else f"{regime}(k={k})"
        attached = lerac.attach(optimizer, model, text, epoch_steps=2, epochs=20)
        train(model, optimizer, range(steps))
        if removed:
            attached.remove()

    caught = told(program)
    assert len(caught) == (not removed and regime != "conventional" and steps < 2 * k)
    for warning in caught:
        said = f"{steps} of k={2 * k} optimizer steps were taken" if steps else f"lerac.attach {NEVER}"
        assert said in str(warning.message)
        assert ("A regime's k counts epochs, of epoch_steps optimizer steps" in str(warning.message)) == (steps > 0)
        assert warning.filename == __file__


def test_a_regime_that_is_over_early_was_meant_so():
    def program():
        model = make_net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        lerac.attach(optimizer, model, "lerac(k=1)", epoch_steps=2, epochs=50)
        train(model, optimizer, range(100))

    assert not told(program)


def test_it_is_said_once_for_a_line():
    def program():
        for _ in range(3):
            build(5)
            gc.collect()

    assert len(told(program)) == 1


@pytest.fixture
def interruptible():
    """A shell's background job, as the tests may be, ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_nothing_is_said_while_an_exception_is_handled():
    def program():
        try:
            model, optimizer, _ = build(5)
            train(model, optimizer, range(2))
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            del model, optimizer, _
            gc.collect()

    assert not told(program)


def test_nothing_is_said_of_what_lerac_builds_for_itself(monkeypatch):
    from lerac import plot

    code = compile("def build(lerac, *a, **k):\n    return lerac.LeRaC(*a, **k)", plot.__file__, "exec")
    own = {}
    exec(code, own)

    def program(build=own["build"]):
        model = make_net()
        build(lerac, torch.optim.SGD(model.parameters(), lr=0.1), model, k=5)

    assert not told(program)


def test_what_is_watched_lives_no_longer_than_before():
    model, optimizer, curriculum = build(5)
    train(model, optimizer, range(5))
    seen = weakref.ref(curriculum._course), weakref.ref(model), weakref.ref(optimizer)
    del model, optimizer, curriculum
    gc.collect()
    assert [thing() for thing in seen] == [None] * 3


START = """
import torch, lerac
from torch import nn

def build(k=5):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, optimizer, lerac.LeRaC(optimizer, model, k=k, layers=lerac.registration_layers(model))

def train(model, optimizer, steps):
    for _ in range(steps):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
"""
PROGRAMS = {
    "optimizer built again": ("model, optimizer, c = build()\noptimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
                              "train(model, optimizer, 9)", NEVER),
    "sys.exit": ("import sys\nm = build()\ntrain(*m[:2], 3)\nsys.exit(0)", EARLY),
    "epochs": ("m = build(3)\ntrain(*m[:2], 60)", EPOCHS),
    "exception in a function": ("def main():\n    m = build()\n    train(*m[:2], 3)\n    raise ValueError\nmain()",
                                None),
    "Ctrl-C": ("import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nm = build()\n"
               "train(*m[:2], 3)\nos.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(5)", None),
    "cells": ("cell = compile('m = build()\\ntrain(*m[:2], n)', '<cell>', 'exec')\n"
              "n = 2\nexec(cell)\nn = 5\nexec(cell)", None),
    "a child": ("import os, gc\nm = build()\nif not os.fork():\n    del m\n    gc.collect()\n    raise SystemExit\n"
                "os.wait()\ntrain(*m[:2], 5)", None),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_hear_of_it_when_they_end(name, tmp_path):
    program, says = PROGRAMS[name]
    path = tmp_path / "script.py"
    path.write_text(START + textwrap.dedent(program) + "\n")
    ended = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120)
    if says is None:
        assert "UnfinishedWarning" not in ended.stderr
        return
    assert ended.returncode == 0
    line = next(number for number, text in enumerate(START.splitlines(), start=1) if "lerac.LeRaC(" in text)
    assert ended.stderr.count(f"script.py:{line}: UnfinishedWarning: ") == 1, ended.stderr
    assert says in ended.stderr
