"""Names and submodules load on first use, in any order, and what is missing is said as if it had been imported."""

import ast
import inspect
import json
import os
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import lerac
import lerac.integrations

SOURCE = Path(lerac.__file__).parent
CORE = [
    ".".join(("lerac", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(SOURCE.rglob("*.py"))
    if path.relative_to(SOURCE).parts[0] not in ("study", "commands", "cli.py", "__main__.py", "optax.py")
]

# Runs each piece of code in a process of its own in which torch is loaded and lerac is not, and prints what went wrong.
EACH_IN_ITS_OWN_PROCESS = """
import json, os, sys, traceback
import lerac.integrations.ultralytics, lerac.plot, lerac.smoothing
for name in [name for name in sys.modules if name.partition(".")[0] == "lerac"]:
    del sys.modules[name]
for code in json.load(sys.stdin):
    if not (child := os.fork()):
        try:
            exec(code, {})
        except BaseException:
            print(code, traceback.format_exc(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def python(code: str, **options) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_lerac_loads_nothing_but_the_standard_library():
    loaded = json.loads(python("import sys, json, lerac; json.dump(sorted(sys.modules), sys.stdout)"))
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"lerac", "__main__"}
    assert {name for name in foreign if not name.startswith("_")} == set()  # what a site's .pth files load
    assert "lerac.curves" not in loaded


# A framework that is missing is said in the same way however the adapter is asked for.
MISSING = """
import importlib, sys
sys.modules["{0}"] = None
import lerac
for load in (lambda: lerac.integrations.{0}, lambda: importlib.import_module("lerac.integrations.{0}")):
    try:
        load()
    except ImportError as error:
        assert str(error) == "lerac.integrations.{0} needs {0}: pip install 'lerac[{0}]'"
    else:
        raise AssertionError
"""


@pytest.mark.wide
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_everything_can_be_the_first_to_load():
    codes = [f"import lerac; lerac.{name}" for name in lerac.__all__] + [f"import {name}" for name in CORE]
    codes += ["from lerac import *; CBS, LeRaC, curves, snr.layer_snr, __version__"]
    codes += ["import lerac; lerac.integrations.ultralytics.attach", "import lerac; lerac.plot.schedule"]
    codes += ["import lerac; lerac.study.statistics.analyse", "import lerac; lerac.study.folder.collect"]
    codes += [MISSING.format("lightning"), MISSING.format("transformers")]
    assert python(EACH_IN_ITS_OWN_PROCESS, input=json.dumps(codes)) == ""


def test_names_are_those_of_their_homes_and_know_where_they_are_from():
    assert lerac.LeRaC is import_module("lerac.curriculum.lerac").LeRaC
    assert lerac.find_layers is import_module("lerac.depth").find_layers
    assert lerac.snr is import_module("lerac.snr")
    for name in lerac.__all__:
        if not inspect.ismodule(value := getattr(lerac, name)):
            assert pickle.loads(pickle.dumps(value)) is value or name == "__version__"


@pytest.mark.parametrize("package", [lerac, lerac.integrations, lerac.curriculum], ids=lambda p: p.__name__)
@pytest.mark.parametrize("name", ["nope", "leRaC", "a.b", "curves.linear", "", "1", "__wrapped__", "_private", "é"])
def test_what_is_not_there_is_an_attribute_error(package, name):
    assert not hasattr(package, name)
    with pytest.raises(AttributeError, match=f"^module '{package.__name__}' has no attribute '{name}'$"):
        getattr(package, name)


def test_all_that_dir_shows_can_be_had():
    assert {*lerac.__all__, "integrations", "plot", "layers"} <= set(dir(lerac))
    assert {"ultralytics", "missing"} <= set(dir(lerac.integrations))
    for package in (lerac, lerac.curriculum):
        assert dict(inspect.getmembers(package)).keys() == set(dir(package))


def test_dir_does_not_show_frameworks_that_are_missing():
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; import lerac; print(dir(lerac))"
    )
    assert "integrations" in python(code)
    assert "optax" not in python(code)


@pytest.mark.parametrize("package", [lerac, lerac.integrations, lerac.curriculum], ids=lambda p: p.__name__)
def test_type_checkers_are_told_of_every_name(package):
    [condition] = [node for node in ast.parse(inspect.getsource(package)).body if isinstance(node, ast.If)]
    assert ast.unparse(condition.test) == "TYPE_CHECKING"
    typed = {
        alias.name: node.module for node in condition.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    [call] = [node for node in ast.walk(condition.orelse[-1]) if isinstance(node, ast.Call)][:1]
    homes = {name: f"{package.__name__}.{home}" for name, home in ast.literal_eval(call.args[1]).items()}
    assert {name: home for name, home in typed.items() if home != package.__name__} == homes
    if package is lerac:
        assert typed.keys() >= {*lerac.__all__, *ast.literal_eval(call.keywords[0].value)} - {"__version__"}
    if package is lerac.integrations:
        assert typed.keys() == {path.stem for path in (SOURCE / "integrations").glob("*.py")} - {"__init__"}
