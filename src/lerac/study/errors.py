"""The one error that means: the request cannot be done as it stands."""

__all__ = ["FolderInUseError", "StorageError", "StudyError"]


class StudyError(ValueError):
    """Bad input from the user, in one line that says what was received, what was expected and what to do.

    The command line prints it and exits with code 2.
    """


class FolderInUseError(StudyError):
    """Another process works in the folder."""


class StorageError(StudyError):
    """A file cannot be written, because the disk is full, for example: no other run could write its files either."""
