"""The one error that means: the request cannot be done as it stands."""

__all__ = ["StudyError"]


class StudyError(ValueError):
    """Bad input from the user, in one line that says what was received, what was expected and what to do.

    The command line prints it and exits with code 2.
    """
