"""Trainings that are a command: their experiments, and their runs with every placeholder, such as {seed}, filled in."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal, Self

from pydantic import Field

from lerac.study.errors import StudyError
from lerac.study.plan.experiment import KINDS, plan_run
from lerac.study.plan.own import OwnExperiment, OwnRun
from lerac.study.recipes.regimes import parse_regime
from lerac.study.recipes.sections import flat

__all__ = ["ARM", "RESERVED", "CommandExperiment", "code_of", "fill", "filled", "places", "with_arm"]

ARM = "arm"  # what stands for the words of an arm
_NAME = r"[A-Za-z_][\w.-]*"
# {{name}} is {name} as it stands; ${name} is a shell's, for a command that starts one; other braces are nothing to us.
_PLACE = re.compile(rf"\{{\{{({_NAME})\}}\}}|(?<!\$)\{{({_NAME})\}}")
RESERVED = ("seed", "folder", "regime", ARM)  # placeholders that are no settings


class CommandExperiment(OwnExperiment):
    """A command, started without a shell.

    Args:
        kind: of experiment.
        words: of the command, with placeholders.
        results: path of the file that it leaves its results in, with placeholders.
        arms: name → words, of a script that knows nothing of regimes; a study's regimes are then their names.
    """

    kind: Literal["command"] = "command"
    words: list[str] = Field(min_length=1)
    results: str = Field(min_length=1)
    arms: dict[str, list[str]] = Field(default_factory=dict)

    @property
    def made_by(self) -> str:
        """What its code is of, in words."""
        return "the command, or its --results,"

    def settings(self) -> dict[str, Any]:
        """Give what makes it another experiment, as plain types; of its words, `joined` asks."""
        return {"arms": bool(self.arms), **super().settings()}

    def joined(self, new: Self) -> Self:
        """Give one for this one and the same as it is asked for later, with the arms of both.

        Raises:
            StudyError: if settings differ, an arm, or the command without leave.
        """
        together = super().joined(new)
        for name, words in new.arms.items():
            if (before := self.arms.get(name, words)) != words:
                raise StudyError(
                    f"{self.name}: the arm {name} has changed since runs of it ended (from {' '.join(before)!r} to "
                    f"{' '.join(words)!r}): give it another name"
                )
        return together.model_copy(update={"arms": {**self.arms, **new.arms}})

    def as_asked(self, new: Self, ended: Collection[str]) -> Self:
        """Give it with the words by which it is asked for later, where no run by others has ended."""
        arms = {name: words for name, words in new.arms.items() if name in self.arms and name not in ended}
        known = self.model_copy(update={"arms": {**self.arms, **arms}})
        if ended:
            return known
        return known.model_copy(update={"code": new.code, "words": new.words, "results": new.results})


def code_of(words: list[str], results: str) -> str:
    """Give the sha256 of a command."""
    return sha256(json.dumps([words, results]).encode()).hexdigest()


def filled(run: OwnRun, folder: str) -> tuple[list[str], str]:
    """Give the words of a run's command and the path of its results, with everything in its place.

    Args:
        run: of a command.
        folder: absolute path of the folder that the run has for itself.

    Raises:
        StudyError: if a placeholder is unknown, or {seed} is nowhere.
    """
    values = {"seed": str(run.seed), "folder": folder}
    words, arm = run.source["words"], run.source["arm"]
    if arm is None:
        values["regime"] = run.regime
    else:
        words = with_arm(words, arm)
    values |= {key: _text(value) for key, value in flat(run.settings)}
    if "seed" not in places(*words):
        raise StudyError("--command must have {seed} among its words, such as --seed {seed}: each seed is a run")
    try:
        return [fill(word, values) for word in words], fill(run.source["results"], values)
    except StudyError as error:
        raise StudyError(f"{run.experiment} ({run.regime}): {error}") from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _settings(experiment: CommandExperiment, regime: str) -> Mapping[str, Any]:
    if experiment.arms:
        return experiment.values
    lr = parse_regime(regime).options.get("lr")
    return {**experiment.values, **({} if lr is None else {"lr": lr})}


def places(*texts: str) -> set[str]:
    """Name the placeholders of texts."""
    return {match[2] for text in texts for match in _PLACE.finditer(text) if match[2]}


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values in the places of a text; what stands in a value is not looked at again.

    Raises:
        StudyError: if a placeholder is unknown; says which there are.
    """

    def value(match: re.Match[str]) -> str:
        plain, name = match.groups()
        if plain is not None:
            return f"{{{plain}}}"
        if name not in values:
            known = ", ".join(f"{{{one}}}" for one in values)
            raise StudyError(
                f"{{{name}}} in {text!r} is unknown here; there is {known}. {{{{{name}}}}} stands for itself"
            )
        return values[name]

    return _PLACE.sub(value, text)


def with_arm(words: Sequence[str], arm: Sequence[str]) -> list[str]:
    """Put the words of an arm where {arm} stands among those of a command, or at their end; fills nothing else.

    Raises:
        StudyError: if {arm} is a part of a word, and the arm is not one word.
    """
    if ARM not in places(*words):
        return [*words, *arm]
    put: list[str] = []
    for word in words:
        if word == f"{{{ARM}}}":
            put += arm
            continue
        if ARM in places(word):
            if len(arm) != 1:
                raise StudyError(f"{word!r} takes an arm of one word, got {' '.join(arm)!r}; let {{arm}} stand alone")
            word = _PLACE.sub(lambda match: arm[0] if match[2] == ARM else match[0], word)
        put.append(word)
    return put


KINDS["command"] = CommandExperiment.model_validate


@plan_run.register
def _run_command(experiment: CommandExperiment, study: Any, regime: str, seed: int) -> OwnRun:
    if experiment.arms and regime not in experiment.arms:
        raise StudyError(f"{experiment.name} has no arm {regime}; there is {', '.join(experiment.arms)}")
    run = OwnRun(
        kind=experiment.kind,
        experiment=experiment.name,
        regime=regime,
        seed=seed,
        settings=dict(_settings(experiment, regime)),
        source={"words": experiment.words, "results": experiment.results, "arm": experiment.arms.get(regime)},
        code=experiment.code[-1],
        judged=experiment.judged,
        directory=experiment.folder,
        slug=experiment.slug,
        device=study.device,
        threads=study.threads,
        tuning=study.tuning is not None,
    )
    filled(run, "")  # or this raises
    return run
