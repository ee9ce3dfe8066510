"""The README's lines of Python, of the callbacks too, each in the program that the text around it describes."""

import os
import re
import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import lerac

README = (Path(__file__).parents[1] / "README.md").read_text()
LINES = re.findall(r"`([^`\n]*\blerac\.\w[^`\n]*\([^`\n]*)`", README)
DATA = torch.utils.data.TensorDataset(torch.randn(8, 6), torch.randn(8, 1))
LOADER = torch.utils.data.DataLoader(DATA, batch_size=4)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))


def in_a_plain_loop(line: str) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scope = {"lerac": lerac, "model": model, "example_input": DATA[:2][0], "optimizer": optimizer}
    if line.startswith("layers="):
        curriculum = eval(f"lerac.LeRaC(optimizer, model, k=2, {line})", scope)
        assert len(curriculum.layers) == 2
    elif line.startswith("lerac.curves"):
        curve = eval(line.replace("…", "10.0, updates=2"), scope)
        curriculum = lerac.LeRaC(optimizer, model, k=2, curve=curve)
    elif line.startswith("lerac.attach"):
        curriculum = eval(line, scope | {"loader": LOADER})
        assert curriculum.curriculum.k == 3 * len(LOADER)
    else:
        raise AssertionError(f"nobody has said how to run {line}")
    for x, y in [*LOADER] * (3 if line.startswith("lerac.attach") else 1):
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    assert curriculum.finished


def in_smoothing(line: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1))
    scope = {"lerac": lerac, "model": model}
    exec(line, scope)
    for _ in range(5):
        scope["cbs"].step()
    assert scope["cbs"].sigma == 0.9


def in_lightning(line: str) -> None:
    pytest.importorskip("lightning")
    from lightning.pytorch import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network()

        def training_step(self, batch, index):
            return nn.functional.mse_loss(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = eval(line, {"lerac": lerac, "Trainer": partial(Trainer, max_epochs=6, accelerator="cpu", **quiet)})
    trainer.fit(module := Module(), LOADER)
    assert all(group["lerac_step"] == 5 * len(LOADER) for group in module.optimizers().param_groups)


def in_transformers(line: str) -> None:
    pytest.importorskip("transformers")
    from transformers import Trainer, TrainingArguments

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network()

        def forward(self, x, labels):
            return {"loss": nn.functional.mse_loss(self.network(x), labels)}

    arguments = TrainingArguments(
        tempfile.mkdtemp(), num_train_epochs=6, per_device_train_batch_size=4, report_to="none", save_strategy="no",
        use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    examples = [{"x": x, "labels": y} for x, y in DATA]
    made = partial(Trainer, model=Model(), args=arguments, train_dataset=examples)
    trainer = eval(line.replace("…, ", ""), {"lerac": lerac, "Trainer": made})
    trainer.train()
    assert all(group["lerac_step"] == 5 * len(LOADER) for group in trainer.optimizer.param_groups)


def in_ultralytics(line: str) -> None:
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="ultralytics-"))
    os.environ.setdefault("YOLO_OFFLINE", "true")
    ultralytics = pytest.importorskip("ultralytics")
    attached = eval(line, {"lerac": lerac, "model": ultralytics.YOLO("yolov8n.yaml")})
    assert attached.curriculum is None  # until its training starts; examples/ has one


def in_optax(line: str) -> None:
    optax = pytest.importorskip("optax")
    jnp = pytest.importorskip("jax.numpy")
    parameters = {name: jnp.ones(3) for name in ("stem", "block_0", "head")}
    transform = eval(line.replace("…", "1e-2"), {"lerac": lerac, "optax": optax})
    updates, _ = transform.update(parameters, transform.init(parameters), parameters)
    sizes = [float(abs(updates[name]).max()) for name in ("stem", "block_0", "head")]
    assert sizes[0] > 100 * sizes[1] > 10_000 * sizes[2] > 0


def way(line: str):
    """Give what runs a line."""
    ways = {"lightning": in_lightning, "transformers": in_transformers, "ultralytics": in_ultralytics,
            "optax": in_optax, "CBS": in_smoothing}  # fmt: skip
    return next((run for word, run in ways.items() if f"lerac.integrations.{word}" in line or f"lerac.{word}" in line),
                in_a_plain_loop)  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # the frameworks' own
@pytest.mark.parametrize("line", LINES)
def test_every_line_of_the_readme_runs(line):
    way(line)(line)


def test_every_callback_of_the_readme_is_among_them():
    assert {way(line) for line in LINES} == {
        in_lightning, in_transformers, in_ultralytics, in_optax, in_smoothing, in_a_plain_loop
    }  # fmt: skip
