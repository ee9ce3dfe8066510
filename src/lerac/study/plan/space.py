"""From axes to configurations: one space for all regimes, and the same number of configurations for each.

They are the first points of one scrambled Sobol sequence, in which fewer are the first of more. An option has the same
coordinate whatever the regime, so that all regimes are tried at the same learning rates.
"""

import errno
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lerac.regimes.text import OPTIONS, REGIMES, Regime
from lerac.study.errors import StudyError, fault
from lerac.study.plan.curriculum import steps_per_epoch
from lerac.study.plan.study import Study
from lerac.study.plan.tuning import AXES, DIGITS, MOST_CONFIGS, Axis, Tuning
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.regimes import split_regimes

__all__ = ["BASE", "tuning_of", "tuning_study"]

LENGTHS = ("k", "every")  # options that are times: in epochs, or in % of training
AROUND = math.sqrt(10)  # factor to either side of the learning rate


@dataclass(frozen=True)
class _Length:
    """How long a training is.

    Args:
        epochs: of it; None where nobody knows.
        step: epochs of an optimizer step; 0 where nobody knows.
    """

    epochs: int | None
    step: float

    @property
    def shortest(self) -> float:
        """Epochs of a step."""
        return float(f"{self.step:.{DIGITS}g}")

    @property
    def longest(self) -> float:
        """Epochs of the whole."""
        return float(self.epochs or math.inf)

    @property
    def between(self) -> str:
        """Both, in words."""
        return f"between a step ({self.shortest:g} epochs) and the whole training ({self.longest:g} epochs)"


BASE = "conventional(lr=1)"  # what a study is asked for by, whose regimes come later: its rate must arrive


def tuning_study(
    study: Study,
    regimes: str,
    configs: int,
    words: Mapping[str, str | None],
    epochs: int | None = None,
    epoch_steps: int | None = None,
) -> Study:
    """Make a tuning of a study.

    Args:
        study: that says all but the regimes.
        regimes: that are tuned, as text; an option that one has is not tuned.
        configs: how many configurations each has.
        words: see `tuning_of`.
        epochs: likewise.
        epoch_steps: likewise.

    Raises:
        StudyError: if any of it cannot be.
    """
    if len(study.experiments) > 1:
        names = ", ".join(one.name for one in study.experiments)
        raise StudyError(f"{names}: what is best for one says nothing of another; tune each in a folder of its own")
    [experiment] = study.experiments
    if isinstance(experiment, Recipe) and experiment.data.validation == "test":
        raise StudyError(
            f"{experiment.name}: it validates on the test split itself ({experiment.source}), so that tuning would "
            "choose by test values; choose another --source"
        )
    tuning = tuning_of(experiment, split_regimes(regimes), configs, words, epochs, epoch_steps)
    tuned = study.model_copy(update={"regimes": tuning.regimes, "tuning": tuning})
    tuned.model_copy(update={"seeds": study.seeds[:1]}).runs()  # every configuration can be trained, or this raises
    return tuned


def tuning_of(
    experiment: Any,
    regimes: Sequence[Regime],
    configs: int,
    words: Mapping[str, str | None],
    epochs: int | None = None,
    epoch_steps: int | None = None,
) -> Tuning:
    """Give what is tried.

    Args:
        experiment: that is tuned.
        regimes: each once; an option that it has is not tuned.
        configs: how many configurations each has.
        words: option → where its values come from, as asked for; None or missing: see `AXES`.
        epochs: of a training that only its process knows.
        epoch_steps: optimizer steps of an epoch, likewise; None: nothing keeps k at a step or above.

    Raises:
        StudyError: if any of it cannot be.
    """
    if not 1 <= configs <= MOST_CONFIGS:
        raise StudyError(f"--configs must be 1 to {MOST_CONFIGS}, got {configs}")
    length, rate = _length(experiment, epochs, epoch_steps)
    tuned = {str(regime): _options(regime) for regime in regimes}
    names = [option for option in AXES if any(option in options for options in tuned.values())]
    if stray := [option for option, text in words.items() if text is not None and option not in names]:
        raise StudyError(f"--{stray[0]} is tuned in none of {', '.join(tuned)}")
    axes = {name: _axis(name, words.get(name) or _default(name, rate, length), length) for name in names}
    columns = dict(zip(AXES, zip(*_sobol(configs), strict=True), strict=True))
    values = {name: axis.values(columns[name]) for name, axis in axes.items()}
    tried = {}
    for regime in regimes:
        own = tuned[str(regime)]
        made = [Regime(regime.name, {**regime.options, **{o: values[o][i] for o in own}}) for i in range(configs)]
        tried[str(regime)] = [str(one if isinstance(experiment, Recipe) else one.complete()) for one in made]
        if (different := len(set(tried[str(regime)]))) < configs:
            listed = ", ".join(f"--{option} {axes[option].words}" for option in own)
            raise StudyError(
                f"{regime}: {configs} configurations were asked for, and {listed} give {different}: fewer --configs, "
                "or more values"
            )
    try:
        return Tuning(configs=configs, epochs=length.epochs, epoch_steps=epoch_steps, axes=axes, tried=tried)
    except ValidationError as error:
        raise StudyError(f"--regimes: {fault(error)}") from None


def _length(experiment: Any, epochs: int | None, epoch_steps: int | None) -> tuple[_Length, Any]:
    """Give how long a training is, and its learning rate, if that is to be seen."""
    if not isinstance(experiment, Recipe):
        return _Length(epochs, 1 / epoch_steps if epoch_steps else 0.0), getattr(experiment, "values", {}).get("lr")
    if epochs is not None or epoch_steps is not None:
        option = "--epoch-steps" if epochs is None else "--epochs"
        raise StudyError(
            f"{option} is of functions and commands; a recipe says it itself: {experiment.name}, see --set"
        )
    step = 1 / steps_per_epoch(experiment.settings())
    return _Length(experiment.training.epochs, step), experiment.optimizer.lr


def _options(regime: Regime) -> list[str]:
    """Name the options of a regime that are tuned: those that it leaves open and that mean something."""
    if "lr" in regime.options:
        raise StudyError(f"{regime}: every regime is tried at the same learning rates; leave lr out, and see --lr")
    nothing = {"ratio"} if regime.name == "warmup" and regime.options.get("curve", "linear") == "linear" else set()
    return [one for one in AXES if one in REGIMES[regime.name] and one not in regime.options and one not in nothing]


def _sobol(count: int) -> list[list[float]]:
    """Give the first points of the sequence; fewer of them are the first of more."""
    from scipy.stats import qmc  # here, because it takes long to load

    points = qmc.Sobol(d=len(AXES), scramble=True, rng=0).random_base2(math.ceil(math.log2(count)))
    return [[float(u) for u in point] for point in points[:count]]


def _default(option: str, rate: Any, length: _Length) -> str:
    if option != "lr":
        if (words := AXES[option]) and "%" in words and length.epochs is None:
            raise StudyError(
                f"--{option} is {words} of training, and how long that is only the training knows: pass --epochs N, or "
                f"--{option} A..B in epochs"
            )
        return words or ""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise StudyError("--lr A..B is needed, or --set lr=… to start from: there is no learning rate to be seen")
    return f"{rate / AROUND:.{DIGITS}g}..{rate * AROUND:.{DIGITS}g}"


def _axis(option: str, text: str, length: _Length) -> Axis:
    """Read `A..B`, a list such as `0.1,0.2`, or the path of a file with a value per line."""
    words, lines = text.replace(" ", ""), _lines(option, text)
    if lines is None and ".." in words:
        ends = [_value(option, text, part, length) for part in words.split("..")]
        if len(ends) != 2 or not ends[0] < ends[1]:
            raise StudyError(f"--{option} {text}: A..B was expected, A below B")
        low, high = ends
        if option in LENGTHS:
            if low > length.longest:
                raise StudyError(f"--{option} {text}: nothing of it is {length.between}")
            low, high = (min(max(end, length.shortest), length.longest) for end in (low, high))
        return Axis(words=words, low=low, high=high)
    values = sorted({_value(option, text, part, length) for part in lines or words.split(",")})
    if option in LENGTHS and (wrong := [one for one in values if not length.shortest <= one <= length.longest]):
        raise StudyError(f"--{option} {text}: {wrong[0]:g} epochs are not {length.between}")
    return Axis(words=",".join(f"{one:.12g}" for one in values), low=values[0], high=values[-1], listed=values)


def _lines(option: str, text: str) -> list[str] | None:
    """Give the lines of a file that have something; None if there is no such file."""
    try:
        if not (path := Path(text)).is_file():
            return None
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ENAMETOOLONG:
            return None
        raise StudyError(f"--{option} {text} cannot be read: {error}") from None
    if not any(lines):
        raise StudyError(f"--{option} {text}: there is no value in it, a value per line was expected")
    return [line for line in lines if line]


def _value(option: str, text: str, part: str, length: _Length) -> float:
    parse, takes = OPTIONS[option]
    share = part.endswith("%") and option in LENGTHS
    try:
        value = float(part.removesuffix("%")) if share else float(parse(part))
    except ValueError:
        value = math.nan
    if not 0 < value <= (100 if share else math.inf):
        percent = ", or 1% to 100% of training" if option in LENGTHS else ""
        raise StudyError(
            f"--{option} {text}: {part or 'nothing'!r} is not {takes}{percent}; A..B, a list such as A,B,C or a file "
            "with a value per line was expected"
        )
    if not share:
        return value
    if length.epochs is None:
        raise StudyError(f"--{option} {text}: % of training needs --epochs N; only the training knows how long it is")
    return value / 100 * length.epochs
