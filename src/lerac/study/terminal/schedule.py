"""The learning rates of a training on a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lerac.study.plan.listing import Schedule
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.sections import ScheduleSettings

__all__ = ["print_schedule"]

COLUMNS = 8  # that 80 characters have room for


def print_schedule(console: Console, recipe: Recipe, schedule: Schedule) -> None:
    """Print the rates during the curriculum, then the base schedule and what is surprising, in words."""
    by = "" if schedule.regime is None else f", {schedule.regime}"
    title = f"{schedule.recipe} (source {schedule.source}){by}: {schedule.steps_per_epoch} steps per epoch, "
    console.print(f"{title}curriculum of {schedule.curriculum_steps} steps", markup=False, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("from step", overflow="fold", ratio=1)
    shown = _shown(schedule)
    for position in shown:
        table.add_column(str(schedule.at[position]), justify="right", no_wrap=True)
    for group in schedule.groups:
        tensors = f"{group.name} ({len(group.parameters)})"
        table.add_row(escape(tensors), *(_rate(group.lrs[position]) for position in shown))
    console.print(table)
    console.print("In brackets: number of parameter tensors.")
    console.print(_base_in_words(recipe.schedule), markup=False, highlight=False, soft_wrap=True)
    for surprise in recipe.surprises:
        console.print(f"- {surprise}", markup=False, highlight=False, soft_wrap=True)


def _shown(schedule: Schedule) -> list[int]:
    """Choose positions in `at`: all of the curriculum with its end, or as many, evenly, as there is room for."""
    during = [p for p, step in enumerate(schedule.at) if step <= schedule.curriculum_steps]
    if len(during) <= COLUMNS:
        return during
    return [during[round(i * (len(during) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]


def _rate(lr: float) -> str:
    return f"{lr:.1e}".replace("e-0", "e-") if lr else "0"


def _base_in_words(base: ScheduleSettings) -> str:
    match base.name:
        case "constant":
            return "Base schedule: constant."
        case "cosine":
            return "Base schedule: half a cosine wave from the full rate to 0 over the whole training (included above)."
        case "step":
            epochs = ", ".join(map(str, base.epochs or ()))
            return (
                f"Base schedule: divided by {base.divide_by:g} at the start of epochs {epochs}, down to {base.floor:g}."
            )
        case "epoch-cosine":
            return (
                f"Base schedule: constant through epoch {(base.after or 0) + 1}, then a cosine, one rate per epoch, "
                f"towards {base.floor:g}; it is as long as training, so it is cut short."
            )
    return (
        f"Base schedule: divided by {base.divide_by:g} when the validation loss has not fallen for {base.patience} "
        "epochs; a metric decides, so it is held here."
    )
