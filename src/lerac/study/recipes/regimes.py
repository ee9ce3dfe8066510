"""Regimes as the command line takes them: the text of `lerac.regimes`, and an error of the study if it is wrong."""

from lerac import regimes
from lerac.regimes.text import Regime
from lerac.study.errors import StudyError

__all__ = ["parse_regime", "split_regimes"]


def parse_regime(text: str) -> Regime:
    """Read a regime, as `lerac.regimes.parse_regime` does.

    Raises:
        StudyError: if the name, an option or a value is not allowed; the message lists what is.
    """
    try:
        return regimes.parse_regime(text)
    except ValueError as error:
        raise StudyError(str(error)) from None


def split_regimes(text: str) -> list[Regime]:
    """Read a list separated by commas, grids in braces too, as `lerac.regimes.split_regimes` does.

    Raises:
        StudyError: if one is not a regime, two are the same, or braces are not of that form.
    """
    try:
        return regimes.split_regimes(text)
    except ValueError as error:
        raise StudyError(str(error)) from None
