"""No figure is lost to the backend that the environment names: ours need none."""

import os
import subprocess
import sys

import pytest

UNKNOWN = ("nonsense", "module://matplotlib_inline.of_nobody", "module://", "TkAgg\n", "İ", " ")
KNOWN = ("agg", "SVG", "tkagg", "module://of_nobody.backend", "")

# Every first import of Matplotlib that is ours, under every backend, each in a fork that has not loaded it.
TRY = """
import os, sys, torch, lerac, lerac.plot, lerac.study.plan.study
assert "matplotlib" not in sys.modules
net = torch.nn.Linear(2, 1)
def draw(how):
    if how == "plot":
        lerac.plot.layers(lerac.registration_layers(net), net).savefig(os.devnull, format="svg")
    elif how == "load":
        lerac.plot.load_matplotlib()
    elif how == "figures":
        from lerac.study.figures.style import Figure, svg
        svg(Figure())
    else:
        from lerac.study.report.pictures import inline_svg, Figure
        inline_svg(Figure(), "a", "b")
for case in sys.argv[1:]:
    how, backend = case.split("/", 1)
    if not os.fork():
        os.environ["MPLBACKEND"] = backend
        draw(how)
        assert os.environ["MPLBACKEND"] == backend
        import matplotlib
        known = backend in ("agg", "SVG", "tkagg")
        print(not known or matplotlib.rcParams["backend"].lower() == backend.lower(), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="one process for each would take long")
def test_a_figure_is_drawn_under_every_backend_that_the_environment_can_name():
    cases = [f"load/{backend}" for backend in (*UNKNOWN, *KNOWN)]
    cases += [f"{how}/{UNKNOWN[0]}" for how in ("plot", "figures", "report")]
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    ended = subprocess.run(
        [sys.executable, "-c", TRY, *cases], capture_output=True, text=True, timeout=120, env=environment
    )
    assert ended.stderr == ""
    assert ended.stdout.split() == ["True"] * len(cases)
