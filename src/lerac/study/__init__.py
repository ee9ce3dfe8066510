"""Comparisons of training regimes: what `lerac compare` does.

Data flows one way: `recipe` and `regimes` say what to do, `plan` lists the runs, `engine` hands them to
workers, `training` trains one, `runs` and `folder` keep them on disk, `statistics` and `report` tell what
came out. Needs the extra: `pip install 'lerac[study]'`.
"""

from typing import TYPE_CHECKING

from lerac.lazy import lazily

if TYPE_CHECKING:
    from lerac.study.report.comparing import compare, tune
else:
    __getattr__, __dir__ = lazily(__name__, {"compare": "report.comparing", "tune": "report.comparing"})

__all__ = ["compare", "tune"]
