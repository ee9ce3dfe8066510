"""What people install: the wheel, used from outside the repository, and a core that needs torch alone."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

USE = """
import torch, lerac
model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
curriculum = lerac.LeRaC(optimizer, model, k=2, layers=lerac.find_layers(model, torch.zeros(1, 2)))
for _ in range(3):
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
assert curriculum.finished
print(lerac.__version__, lerac.__file__)
"""

# Refuses what lerac itself imports, unless it is torch, the standard library or lerac.
ONLY_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        top = name.partition(".")[0]
        allowed = top in {*sys.stdlib_module_names, "torch", "lerac"}
        if frame.f_globals.get("__name__", "").startswith("lerac") and not allowed:
            raise ImportError(f"the core imports {top}")
sys.meta_path.insert(0, Refuse())
"""


def run(*command, cwd, **options):
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    [file] = out.glob("*.whl")
    return file


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"lerac", f"lerac-{wheel.name.split('-')[1]}.dist-info"}
    assert "lerac/py.typed" in names
    source = {f"lerac/{p.relative_to(ROOT / 'src/lerac')}" for p in (ROOT / "src/lerac").rglob("*") if p.is_file()}
    assert {name for name in names if name.startswith("lerac/")} == {s for s in source if "__pycache__" not in s}


def test_the_wheel_works_from_outside_with_torch_alone(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    out = run(
        sys.executable, "-W", "error", "-c", ONLY_TORCH + USE, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")}
    )
    assert str(tmp_path) in out


def test_the_check_above_can_fail(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ONLY_TORCH + "import lerac.cli"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "ImportError: the core imports " in done.stderr


@pytest.mark.wide
@pytest.mark.timeout(1200)
def test_the_wheel_installs_in_a_fresh_environment_with_torch_alone(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    run(*install, wheel, cwd=tmp_path)
    installed = run(python, "-m", "pip", "list", "--format", "freeze", cwd=tmp_path)
    assert "typer" not in installed
    assert "numpy" not in installed
    assert str(tmp_path / "venv") in run(python, "-c", USE, cwd=tmp_path)
    hint = subprocess.run([python, "-m", "lerac", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert hint.returncode == 2
    assert "pip install 'lerac[study]'" in hint.stderr
