from pathlib import Path

import pytest

from lerac.study.plan import Study
from studies import make_study, train_here


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, Study]:
    study = make_study("conventional", "warmup", "lerac", "lerac-reversed", seeds=(0, 1, 2))
    return train_here(tmp_path_factory.mktemp("finished"), study), study
