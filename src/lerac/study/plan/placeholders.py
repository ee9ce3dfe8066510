"""Placeholders in the words of a command, such as {seed}: which there are, and what stands in their places."""

import re
from collections.abc import Mapping, Sequence

from lerac.study.errors import StudyError

__all__ = ["ARM", "fill", "places", "with_arm"]

ARM = "arm"  # what stands for the words of an arm
_NAME = r"[A-Za-z_][\w.-]*"
# {{name}} is {name} as it stands; ${name} is a shell's, for a command that starts one; other braces are nothing to us.
_PLACE = re.compile(rf"\{{\{{({_NAME})\}}\}}|(?<!\$)\{{({_NAME})\}}")


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
