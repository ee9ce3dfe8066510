"""The folder of a study, under the name that people import; the code is in `lerac.study.runs`."""

from lerac.study.runs.folder import *  # noqa: F403
from lerac.study.runs.folder import __all__ as _of_the_folder
from lerac.study.runs.outcomes import collect

__all__ = [*_of_the_folder, "collect"]
