"""From what a training returned to what was measured, by split and name."""

import math
from collections.abc import Mapping
from typing import Any

from lerac.study.errors import StopStudyError, shown
from lerac.study.metrics import LARGEST, LONGEST, is_short
from lerac.study.plan.experiment import chosen_by
from lerac.study.plan.own import UNNAMED, OwnRun

__all__ = ["Values", "measured", "not_finite", "number", "values_of"]

Values = dict[str, dict[str, float]]
SPLITS = ("validation", "test")
EXPECTED = 'a number, a dict of numbers, or {"validation": {…}, "test": {…}} of them was expected'


def measured(returned: Any, run: OwnRun, who: str, verb: str = "returned") -> Values:
    """Give split → name → value of a run, its metric among them; while tuning, only what is of validation data.

    Args:
        returned: by the training.
        run: which.
        who: has returned it, for errors.
        verb: what it has done, for errors.

    Raises:
        StopStudyError: if it is none of what is expected.
    """
    name = run.judged["name"]
    values = values_of(returned, name or UNNAMED, who, verb)
    if run.tuning and not values.get("validation"):
        raise StopStudyError(
            f'{who} {verb} nothing of validation data; return {{"validation": {{…}}}}: tuning chooses by validation '
            "values, and drops those of test"
        )
    split = chosen_by(run)
    _check_measured(values, split, name, who, verb)
    return {split: values[split]} if run.tuning else values


def values_of(returned: Any, single: str, who: str, verb: str = "returned") -> Values:
    """Give split → name → value.

    Args:
        returned: by the training.
        single: what one number is called.
        who: has returned it, for errors.
        verb: what it has done, for errors.

    Raises:
        StopStudyError: if it is none of what is expected; says what it is.
    """
    if (value := number(returned)) is not None:
        return {"test": {single: value}}
    if not isinstance(returned, Mapping) or not returned:
        raise StopStudyError(f"{who} {verb} {_shown(returned)}; {EXPECTED}")
    if any(isinstance(value, Mapping) for value in returned.values()):
        if strange := [split for split in returned if split not in SPLITS]:
            raise StopStudyError(f"{who} {verb} values of {strange[0]!r}; {EXPECTED}")
        splits = {str(split): values for split, values in returned.items()}
    else:
        splits = {"test": returned}
    return {split: _numbers(values, split, f"{who} {verb}") for split, values in splits.items()}


def _numbers(values: Any, split: str, said: str) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise StopStudyError(f"{said} {_shown(values)} as {split}; {EXPECTED}")
    found = {}
    for name, value in values.items():
        if isinstance(name, str) and not is_short(name):
            raise StopStudyError(f"{said} {shown(name)}: a name has up to {LONGEST} signs that can be printed")
        if not isinstance(name, str) or (read := number(value)) is None:
            raise StopStudyError(f"{said} {name!r}: {_shown(value)} as {split}; {EXPECTED}")
        found[name] = read
    return found


def number(value: Any) -> float | None:
    """Give a number as Python has it, of NumPy and torch too; None if it is none, or more than one."""
    if not isinstance(value, int | float):
        try:
            value = value.item()  # of one element only
        except (AttributeError, TypeError, ValueError, RuntimeError):
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _check_measured(values: Values, split: str, measure: str | None, who: str, verb: str) -> None:
    """See that the metric is among what was measured on a split, or that there is only one thing."""
    there = list(values.get(split, {}))
    listed = ", ".join(there) or "nothing"
    if measure is None and len(there) != 1:
        raise StopStudyError(f"{who} {verb} {listed} of the {split} split; say by --metric which of them decides")
    if measure is not None and measure not in there:
        other = [one for one in values if one != split and measure in values[one]]
        where = f"; {measure} is there of {other[0]} only" if other else ""
        raise StopStudyError(f"{who} {verb} no {split} {measure}, only {listed}{where}: --metric names one of those")


def not_finite(values: Values) -> str | None:
    """Name the first value that is not finite, such as `test loss is nan`, or too large; None if all can be used."""
    for split, named in values.items():
        for name, value in named.items():
            if not abs(value) <= LARGEST:
                more = f", and at most {LARGEST:g} can be compared" if math.isfinite(value) else ""
                return f"{split} {name} is {value}{more}"
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '…'}" if value is not None else "None"
