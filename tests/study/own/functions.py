"""Functions of somebody's own, small enough to train in a moment; as a script would have them."""

import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import lerac

X = torch.randn(64, 6)  # drawn while the file is loaded: the same in every process
Y = (X[:, 0] * X[:, 1] > 0).long()
EPOCHS, STEPS = 3, 4


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def fit(trial, model, optimizer, first=0, epochs=EPOCHS, after=lambda epoch: None):
    for epoch in range(first, epochs):
        for batch in torch.randperm(64).split(64 // STEPS):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(X[batch]), Y[batch])
            loss.backward()
            optimizer.step()
        trial.report(epoch, loss=loss, accuracy=accuracy(model))
        after(epoch)
    return accuracy(model)


def accuracy(model):
    with torch.no_grad():
        return (model(X).argmax(1) == Y).float().mean().item()


def start(trial, epochs=EPOCHS, **options):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.settings.get("lr", 0.5))
    trial.attach(optimizer, model, epoch_steps=STEPS, epochs=epochs, **options)
    return model, optimizer


def train(trial):
    value = fit(trial, *start(trial))
    return {"validation": {"accuracy": value}, "test": {"accuracy": value, "other": 1}}


def plain(trial):
    return {"accuracy": fit(trial, *start(trial))}


def number(trial):
    return fit(trial, *start(trial))


def by_name(trial):
    """Whichever of these functions a setting names, so that one server has loaded them all."""
    return globals()[trial.settings["call"]](trial)


def saving(trial, after=lambda epoch: None):
    """Continues from its last epoch; settings say how many there are, and how long each takes."""
    epochs = trial.settings.get("epochs", EPOCHS)
    model, optimizer = start(trial, epochs)
    first = 0
    if (state := trial.load()) is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]

    def save(epoch):
        trial.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1})
        time.sleep(trial.settings.get("pause", 0))
        after(epoch)

    return {"accuracy": fit(trial, model, optimizer, first, epochs, after=save)}


def saving_and_killed(trial):
    return saving(trial, killed_after_each_epoch(trial))


def killed(trial):
    """Saves nothing."""
    return {"accuracy": fit(trial, *start(trial), after=killed_after_each_epoch(trial))}


def killed_after_each_epoch(trial):
    """Once after each epoch but the last, in as many attempts."""

    def after(epoch):
        mark = trial.folder / f"killed-{epoch}"
        if epoch < EPOCHS - 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)

    return after


def never_attached(trial):
    model = Net()
    return {"accuracy": fit(trial, model, torch.optim.SGD(model.parameters(), lr=0.5))}


def attached_twice(trial):
    model, optimizer = start(trial)
    trial.attach(optimizer, model, epoch_steps=STEPS)


def outlasting(trial):
    start(trial, epochs=1)


def fewer_steps(trial):
    return {"accuracy": fit(trial, *start(trial, epochs=EPOCHS + 1))}


def ends_early(trial):
    return {"accuracy": fit(trial, *start(trial, epochs=None), epochs=1)}


def unattached(trial):
    """Trained conventionally, which needs no attach; but then nobody can tell whether it is paired."""
    model = Net()
    return {"accuracy": fit(trial, model, torch.optim.SGD(model.parameters(), lr=trial.settings.get("lr", 0.5)))}


def unseeded(trial):
    start(trial, epochs=None)
    return {"accuracy": 0.5}


def ignores_rate(trial):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    trial.attach(optimizer, model, epoch_steps=STEPS)
    return {"accuracy": fit(trial, model, optimizer)}


def several(trial):
    return {"accuracy": 0.5, "loss": 1.5}


def returns(trial):
    return eval(trial.settings["value"])


def fails(trial):
    print("about to fail")
    if trial.regime != "conventional" and trial.seed == 1:
        raise RuntimeError("a fault\nof mine")
    return plain(trial)


def dies(trial):
    os.kill(os.getpid(), 9) if trial.seed == 1 else None
    return plain(trial)


def leaves(trial):
    os._exit(7) if trial.seed == 1 else None
    return plain(trial)


def exits(trial):
    sys.exit(3) if trial.seed == 1 else None
    return plain(trial)


def reads_ahead(trial):
    """With processes of its own, of torch and of a pool."""
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=16, num_workers=1)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return {"read": sum(len(x) for (x,) in loader) + sum(pool.map(abs, range(-3, 0)))}


def leaves_a_child(trial):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,))
    child.start()
    return {"child": child.pid}


def draws(trial):
    """What the generators give, and where the run is."""
    print("from the function")
    os.system("echo from a child")
    return {
        "python": random.random(),
        "numpy": np.random.rand(),
        "torch": torch.rand(()).item(),
        "hash": hash("a word") % 1000,
        "threads": torch.get_num_threads(),
        "here": Path.cwd() == Path(trial.settings["directory"]),
        "pid": os.getpid(),
    } | {"here": float(Path.cwd() == Path(trial.settings["directory"]))}


LEAK = []


def leaks(trial):
    LEAK.append(1)
    os.environ["LEAK"] = "1"
    return {"leaked": len(LEAK)}


def other_weights(trial):
    if trial.regime != "conventional":
        torch.rand(1)
    return plain(trial)


def other_batch(trial):
    model, optimizer = start(trial)
    if trial.regime != "conventional":
        torch.rand(1)
    return {"accuracy": fit(trial, model, optimizer)}


def other_steps(trial):
    more = trial.regime != "conventional"
    return {"accuracy": fit(trial, *start(trial, epochs=None), epochs=EPOCHS + more)}


def attaches(trial):
    """With the arguments that a setting has, as Python."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    eval(f"trial.attach(optimizer, model, {trial.settings['arguments']})", locals())
    return {"accuracy": fit(trial, model, optimizer)}


def attaches_another_regime(trial):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    lerac.attach(optimizer, model, "cbs", epoch_steps=STEPS)


def does(trial):
    """What a setting says, as Python; then it trains."""
    eval(trial.settings["what"], globals(), {"trial": trial})
    return plain(trial)


def interrupted(trial):
    if trial.seed == 1:
        raise KeyboardInterrupt
    return plain(trial)


def by_callback(trial):
    """As a framework would: its callback knows how many epochs are planned, which is no promise."""
    callback = trial.callback("lightning", **eval(f"dict({trial.settings['options']})"))
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    lerac.attach(optimizer, model, callback.regime, epoch_steps=STEPS, epochs=10)
    return {"accuracy": fit(trial, model, optimizer)}
