from pathlib import Path

import pytest
from pages import Page, page_of
from studies import make_study, train_here

from lerac.study.plan.study import Study
from lerac.study.runs.outcomes import collect


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, Study]:
    study = make_study("conventional", "warmup", "lerac", "lerac-reversed", seeds=(0, 1, 2))
    return train_here(tmp_path_factory.mktemp("finished"), study), study


@pytest.fixture(scope="session")
def report(finished, tmp_path_factory) -> Page:
    folder, study = finished
    return page_of(tmp_path_factory.mktemp("report"), study, collect(folder, study.runs()), folders=[folder])
