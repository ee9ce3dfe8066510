"""`lerac.study.compare`: regimes compared on a function, from Python."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lerac.study.engines import require_engine
from lerac.study.engines.session import Session
from lerac.study.errors import StudyError
from lerac.study.own.functions import check_not_loading, source_of
from lerac.study.own.request import DEFAULT_REGIMES, Judged, request_functions
from lerac.study.own.running import holding
from lerac.study.own.trial import Trial
from lerac.study.plan.request import default_out, parse_seeds
from lerac.study.report.commands import Where
from lerac.study.report.telling import Told, ask, tell

__all__ = ["compare"]


def compare(
    train: Callable[[Trial], Any],
    regimes: str | Sequence[str] = DEFAULT_REGIMES,
    seeds: int | str | Sequence[int] = 5,
    *,
    metric: str | None = None,
    goal: str | None = None,
    unit: str = "",
    scale: float = 1.0,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    engine: str = "local",
    device: str = "cpu",
    threads: int = 1,
    code: str | None = None,
    paired: str | None = None,
    baseline: str | None = None,
    claims: Sequence[str] = (),
    power: float = 0.8,
) -> Told:
    """Compare training regimes on a training of your own, by every regime × seed.

    Calling it again continues an interrupted study, and with more regimes or seeds extends it. Runs that fail are named
    on stderr; the next call tries them again.

    Args:
        train: `train(trial)`, which trains and returns what it measured: one number, a dict of numbers, or
            `{"validation": {…}, "test": {…}}`. It is defined at the top level of a file, unless `workers` is 0.
        regimes: as text, separated by commas, or a list; `lerac(k={1,3})` stands for both.
        seeds: how many (from 0), or which.
        metric: which of the numbers decides; None: the only one.
        goal: whether more of it is better, `max`, or less, `min`; None: `max`.
        unit: of what is shown, such as `%`.
        scale: from what is returned to what is shown; above 0.
        name: in tables; None: `FILE:FUNCTION`.
        settings: plain JSON that the function finds in `trial.settings`.
        out: folder of the study; None: runs/NAME.
        workers: runs side by side; None: as many as cores or GPUs; 0: none, all in this process, as in notebooks.
        engine: who runs the workers: `local` or `ray`.
        device: that the function finds in `trial.device`.
        threads: of each run on the CPU.
        code: `accept` to go on although the file has changed since runs of it ended.
        paired: `require` to make it an error that runs of a seed are not paired.
        baseline: regime with which the others are compared; None: `conventional`.
        claims: differences that are to be shown, as `--claim` takes them.
        power: with which they are to be shown, in (0.05, 1).

    Raises:
        StudyError: a ValueError, if any of it cannot be; its text says what was expected, and what to do.
    """
    check_not_loading()
    require_engine(engine)
    if workers is not None and (type(workers) is not int or workers < 0):
        raise StudyError(f"workers must be a count of 0 or more, got {workers!r}")
    if code not in (None, "accept"):
        raise StudyError(f"code must be 'accept' or None, got {code!r}")
    if paired not in (None, "require"):
        raise StudyError(f"paired must be 'require' or None, got {paired!r}")
    source = source_of(train, elsewhere=workers != 0)
    asked = request_functions(
        {f"{source.file}:{source.function}" if source.file else source.name: source},
        regimes=regimes if isinstance(regimes, str) else ",".join(regimes),
        seeds=_seeds(seeds),
        values=settings or {},
        judged=Judged(metric, goal, unit, scale),
        name=name,
        device=device,
        threads=threads,
        accept=code == "accept",
        here=engine == "local",
    )
    session = Session(Path(out) if out is not None else default_out(asked), asked, "out", engine)
    ask(session.study(), baseline, claims, power, early=True)
    held = {asked.experiments[0].name: train} if workers == 0 else {}
    with session.claimed() as study, holding(held):
        session.train(study.runs(), workers, paired=paired == "require")
        study = session.settled()
        outcomes = session.write_tables(study)
        where = Where([session.folder], session.folder, engine)
        return tell(where, study, outcomes, ask(study, baseline, claims, power))


def _seeds(seeds: int | str | Sequence[int]) -> list[int]:
    if isinstance(seeds, bool) or not isinstance(seeds, int | str | Sequence):
        raise StudyError(f"seeds must be a count or a list of integers, got {seeds!r}")
    if isinstance(seeds, int | str):
        return parse_seeds(str(seeds))
    if strange := [seed for seed in seeds if isinstance(seed, bool) or not isinstance(seed, int)]:
        raise StudyError(f"seeds must be integers, got {strange[0]!r}")
    return parse_seeds(",".join(map(str, seeds)))
