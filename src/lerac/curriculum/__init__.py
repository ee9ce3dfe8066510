"""The Learning Rate Curriculum: see `lerac.LeRaC`."""

from typing import TYPE_CHECKING

from lerac.lazy import lazily

if TYPE_CHECKING:
    from lerac.curriculum.lerac import LeRaC
    from lerac.curriculum.notices import UnfinishedWarning
else:
    __getattr__, __dir__ = lazily(__name__, {"LeRaC": "lerac", "UnfinishedWarning": "notices"})

__all__ = ["LeRaC", "UnfinishedWarning"]
