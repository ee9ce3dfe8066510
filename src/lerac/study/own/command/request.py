"""From the words of a command to the study that compares regimes, or arms, on it."""

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lerac.study.errors import StudyError, fault
from lerac.study.own.request import Judged, check_name, own_study, plain
from lerac.study.plan.command import ARM, RESERVED, CommandExperiment, code_of, places
from lerac.study.plan.study import Study
from lerac.study.recipes.regimes import split_regimes
from lerac.study.recipes.sections import flat

__all__ = ["parse_arms", "request_command"]

SETTINGS = "LERAC_SETTINGS"
LONGEST = 2**22  # bytes of a script in which a word is looked for


def parse_arms(texts: Sequence[str]) -> dict[str, list[str]]:
    """Read `NAME=words`, split as a shell would; there may be no words.

    Raises:
        StudyError: if one is not of that form, two have one name, or there is only one.
    """
    arms: dict[str, list[str]] = {}
    for text in texts:
        name, equals, words = text.partition("=")
        name = name.strip()
        if not equals or not name or not name.isprintable() or name.count("(") != name.count(")"):
            raise StudyError(f"--arm takes NAME=WORDS such as lerac='--k 500', with no = in the name, got {text!r}")
        if name in arms:
            raise StudyError(f"--arm {name} is given twice")
        arms[name] = _split(f"--arm {name}", words)
        if ARM in places(*arms[name]):
            raise StudyError(f"--arm {name}: {{arm}} is where these words are put, and none of them")
    return arms


def request_command(
    command: str,
    results: str,
    arms: Mapping[str, Sequence[str]],
    *,
    regimes: str,
    seeds: Sequence[int],
    values: Mapping[str, Any],
    judged: Judged,
    name: str | None = None,
    device: str = "cpu",
    threads: int = 1,
    accept: bool = False,
    here: bool = True,
) -> Study:
    """Give the study that is asked for.

    Args:
        command: whose words are split as a shell would, with placeholders.
        results: path of the file that it leaves its results in, with placeholders.
        arms: name → words; none: it is compared by regimes.
        regimes: text of regimes, separated by commas; of no meaning with arms.
        seeds: with which each is trained.
        values: that the command is handed, as JSON has them.
        judged: what decides.
        name: of the experiment; None: as the script or program is called.
        device: where it is trained.
        threads: that each run may use on the CPU.
        accept: whether another command may go on where runs have ended.
        here: whether this machine trains it, so that it must have program and device.

    Raises:
        StudyError: if any of it cannot be.
    """
    check_name(name)
    words = _split("--command", command)
    if not words:
        raise StudyError("--command is empty; a command was expected, such as 'python train.py --seed {seed}'")
    by_regimes = () if arms else split_regimes(regimes)
    directory, settings = os.getcwd(), plain(values)  # noqa: PTH109 - as text
    rates = [regime.options["lr"] for regime in by_regimes if "lr" in regime.options]
    handed = {**settings, "lr": rates[0]} if rates else settings
    _check_handed(handed, words, results, arms, directory)
    _check_places(words, results, arms)
    if here:
        _check_program(words[0], directory)
    try:
        experiment = CommandExperiment(
            name=_name(words) if name is None else name,
            values=settings,
            folder=directory,
            words=words,
            results=results,
            arms={arm: list(own) for arm, own in arms.items()},
            code=[code_of(words, results)],
            accept=accept,
            **judged.checked(),
        )
    except ValidationError as error:
        raise StudyError(fault(error)) from None
    study = own_study([experiment], list(arms) or list(by_regimes), seeds, device, threads, here=here)
    study.runs()  # every placeholder can be filled, or this raises
    return study


def _split(option: str, text: str) -> list[str]:
    try:
        text.encode()
        return shlex.split(text)
    except UnicodeEncodeError:
        raise StudyError(f"{option} must be UTF-8, got {text!r}") from None
    except ValueError as error:
        raise StudyError(f"{option} {text!r} cannot be split into words as a shell does: {error}") from None


def _check_handed(
    handed: Mapping[str, Any], words: Sequence[str], results: str, arms: Mapping[str, Sequence[str]], directory: str
) -> None:
    """See that every setting arrives: in its place, or by a script that asks for all of them."""
    if reserved := [key for key, _ in flat(handed) if key in RESERVED]:
        raise StudyError(f"--set {reserved[0]}: {{{reserved[0]}}} is of the run; choose another name")
    used = places(*words, results, *(word for own in arms.values() for word in own))
    left = [key for key, _ in flat(handed) if key not in used]
    if left and not any(_mentions(word, directory) for word in words):
        raise StudyError(
            f"{left[0]} would not arrive: put {{{left[0]}}} into the command, or let the script read the environment "
            f"variable {SETTINGS} (a JSON object); no file that the command names mentions it"
        )


def _mentions(word: str, directory: str) -> bool:
    """Whether a word, or the file or module that it names, mentions the variable with all settings."""
    if SETTINGS in word:
        return True
    for named in (word, f"{word.replace('.', '/')}.py", f"{word.replace('.', '/')}/__main__.py"):
        path = Path(directory) / named
        try:
            if path.is_file() and path.stat().st_size <= LONGEST and SETTINGS.encode() in path.read_bytes():
                return True
        except (OSError, ValueError):
            continue
    return False


def _check_places(words: Sequence[str], results: str, arms: Mapping[str, Sequence[str]]) -> None:
    used = places(*words, results)
    if arms and "regime" in used:
        raise StudyError("{regime} is of regimes; the words of an arm are put where {arm} stands")
    if not arms and ARM in used:
        raise StudyError('{arm} stands for the words of an arm, and there is no --arm NAME="WORDS"')
    if ARM in places(results):
        raise StudyError("--results: {arm} is of the command; {folder} is another one for every run")


def _check_program(program: str, directory: str) -> None:
    if places(program):
        return
    path = os.path.join(directory, program) if os.path.dirname(program) else program  # noqa: PTH118, PTH120
    if shutil.which(path) is None:
        raise StudyError(f"--command: there is no program {program} that could be started")


def _name(words: Sequence[str]) -> str:
    """Give what tables call a command: the script that it runs, or the program."""
    for before, word in pairwise(words):
        if before == "-m" and re.fullmatch(r"[\w.]+", word) and not word.startswith("torch."):
            return word
        if not word.startswith("-") and re.fullmatch(r"[^{}]+\.\w+", word) and Path(word).is_file():
            return Path(word).name
    return Path(words[0]).name
