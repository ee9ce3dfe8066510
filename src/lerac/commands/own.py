"""`lerac compare` of what people bring themselves: which words name it, and the options that are of it alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lerac.study.errors import StudyError

if TYPE_CHECKING:
    from lerac.study.plan.study import Study

__all__ = ["OwnOptions", "request_own"]


@dataclass(frozen=True)
class OwnOptions:
    """Options that recipes do not have; None where they are not given."""

    metric: str | None = None
    goal: str | None = None
    unit: str | None = None
    scale: float | None = None
    name: str | None = None
    threads: int | None = None
    code: str | None = None
    paired: str | None = None
    command: str | None = None
    results: str | None = None
    arm: tuple[str, ...] = ()

    def refuse(self) -> None:
        """Refuse what recipes have no use for.

        Raises:
            StudyError: naming the first such option.
        """
        if given := [name for name, value in vars(self).items() if value not in (None, ())]:
            raise StudyError(
                f"--{given[0]} is of functions (FILE.py:FUNCTION) and commands (--command); recipes say themselves "
                "what it is"
            )


def request_own(
    words: Sequence[str],
    regimes: str | None,
    seeds: Sequence[int],
    overrides: Sequence[str],
    device: str,
    options: OwnOptions,
    others: Mapping[str, Any],
    *,
    here: bool,
) -> "Study":
    """Give the study that is asked for.

    Args:
        words: that name functions; none where there is a command.
        regimes: text of regimes; None: those that every network can be trained by.
        seeds: with which each is trained.
        overrides: `key=value` that the functions are handed.
        device: where it is trained.
        options: of functions and commands.
        others: option → value, of options that are of recipes only.
        here: whether this machine trains.

    Raises:
        StudyError: if any of it cannot be.
    """
    from lerac.study.own.functions import find_function, is_function
    from lerac.study.own.request import DEFAULT_REGIMES, Judged, parse_values, request_functions

    if options.command is not None and words:
        raise StudyError(f"--command and {words[0]} are of studies of their own, by a command each")
    if options.command is None and (options.results is not None or options.arm):
        raise StudyError(
            f"--{'arm' if options.arm else 'results'} is of --command; a function returns what it measures"
        )
    if options.arm and regimes is not None:
        raise StudyError("--regimes and --arm exclude each other: a script that calls lerac.attach has regimes")
    if strange := [word for word in words if not is_function(word)]:
        raise StudyError(f"{strange[0]} is no FILE.py:FUNCTION; recipes are compared by a command of their own")
    if given := [option for option, value in others.items() if value]:
        raise StudyError(f"{given[0]} is of recipes; functions and commands get what they need by --set key=value")
    if options.code not in (None, "accept"):
        raise StudyError(f"--code takes accept, got {options.code!r}")
    if options.paired not in (None, "require"):
        raise StudyError(f"--paired takes require, got {options.paired!r}")
    common: Any = {
        "regimes": regimes or DEFAULT_REGIMES,
        "seeds": seeds,
        "values": parse_values(overrides),
        "judged": Judged(
            options.metric, options.goal, options.unit or "", 1.0 if options.scale is None else options.scale
        ),
        "name": options.name,
        "device": device,
        "threads": options.threads or 1,
        "accept": options.code == "accept",
        "here": here,
    }
    if options.command is None:
        return request_functions({word: find_function(word) for word in words}, **common)
    from lerac.study.own.command.request import parse_arms, request_command

    if not options.results:
        raise StudyError("--command needs --results, the file that it leaves its results in: {folder}/result.json")
    return request_command(options.command, options.results, parse_arms(options.arm), **common)
