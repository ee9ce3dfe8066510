"""Figure 1: the learning rate of each layer over the training."""

from typing import Any

from matplotlib.figure import Figure

from lerac.study.errors import StudyError
from lerac.study.figures.style import rates_figure
from lerac.study.models import MODELS
from lerac.study.plan.rates import curriculum_layers, layer_ratios
from lerac.study.plan.study import Run, steps_per_epoch

__all__ = ["draw_schedule"]


def draw_schedule(run: Run) -> tuple[Figure, dict[str, Any]]:
    """Draw the rates of a run with a curriculum, nothing is trained and no data is needed.

    Returns:
        The figure, and what it shows: length `k` of the curriculum and of the training in optimizer steps, and the
        start of each layer over its full rate, nearest to the input first.

    Raises:
        StudyError: if the regime of the run has no curriculum of learning rates.
    """
    if run.curriculum is None:
        raise StudyError(
            f"--regime {run.regime} leaves the learning rates alone; figure 1 shows a curriculum, such as lerac"
        )
    network, options = MODELS[run.settings["model"]], run.settings["network"]
    lerac = run.curriculum if run.curriculum.kind == "lerac" else None
    layers = curriculum_layers(network.skeleton(**options), network.example_batch(**options), lerac)
    k = run.curriculum.k
    steps = steps_per_epoch(run.settings) * run.settings["training"]["epochs"]
    figure = rates_figure(run, (6.4, 3.6))
    [axes] = figure.axes
    axes.axvline(k, color="0.6", linewidth=0.8, linestyle="--")
    axes.annotate(
        f"k = {k}", (k, 1), xycoords=("data", "axes fraction"), xytext=(3, -3), textcoords="offset points", va="top"
    )
    axes.set_title(f"{run.recipe}, {run.regime}", loc="left", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    starts = layer_ratios(layers, run.curriculum, run.seed)
    return figure, {"recipe": run.recipe, "regime": run.regime, "k": k, "steps": steps, "starts": starts}
