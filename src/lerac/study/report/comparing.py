"""`lerac.study.compare` and `lerac.study.tune`: regimes compared on a function, and tuned for it, from Python."""

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
from lerac.study.plan.space import BASE, tuning_study
from lerac.study.plan.study import Study
from lerac.study.report.commands import Where
from lerac.study.report.telling import Told, ask, tell
from lerac.study.report.tuning import ToldTuning, tell_tuning
from lerac.study.runs.tuning import of_study, tried

__all__ = ["compare", "tune"]


def compare(
    train: Callable[[Trial], Any],
    regimes: str | Sequence[str] | None = None,
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
    tuned: ToldTuning | str | Path | None = None,
) -> Told:
    """Compare training regimes on a training of your own, by every regime × seed.

    Calling it again continues an interrupted study, and with more regimes or seeds extends it. Runs that fail are named
    on stderr; the next call tries them again.

    Args:
        train: `train(trial)`, which trains and returns what it measured: one number, a dict of numbers, or
            `{"validation": {…}, "test": {…}}`. It is defined at the top level of a file, unless `workers` is 0.
        regimes: as text, separated by commas, or a list; `lerac(k={1,3})` stands for both. None: conventional, warmup
            and lerac, or all that were tuned.
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
        tuned: what `tune` has given, or its folder: what it chose is compared, and `regimes` are names among that.

    Raises:
        StudyError: a ValueError, if any of it cannot be; its text says what was expected, and what to do.
    """
    _check(engine, workers, code)
    if paired not in (None, "require"):
        raise StudyError(f"paired must be 'require' or None, got {paired!r}")
    names = ",".join(regimes) if regimes is not None and not isinstance(regimes, str) else regimes
    tuning = None if tuned is None else tried([tuned.folder if isinstance(tuned, ToldTuning) else Path(tuned)])
    judged, accept, here = Judged(metric, goal, unit, scale), code == "accept", engine == "local"
    texts = (names or DEFAULT_REGIMES) if tuning is None else ",".join(tuning.regimes(names))
    of = {"name": name, "device": device, "threads": threads, "accept": accept, "here": here}
    asked = _asked(train, workers, texts, seeds, settings, judged, of)
    asked = asked if tuning is None else tuning.handed_to(asked)
    session = Session(Path(out) if out is not None else default_out(asked), asked, "out", engine)
    ask(session.study(), baseline, claims, power, early=True)
    held = {asked.experiments[0].name: train} if workers == 0 else {}
    with session.claimed() as study, holding(held):
        session.train(study.runs(), workers, paired=paired == "require")
        study = session.settled()
        outcomes = session.write_tables(study)
        where = Where([session.folder], session.folder, engine)
        return tell(where, study, outcomes, ask(study, baseline, claims, power))


def tune(
    train: Callable[[Trial], Any],
    regimes: str | Sequence[str] = DEFAULT_REGIMES,
    configs: int = 12,
    seeds: str | Sequence[int] = "2000-2005",
    *,
    lr: str | None = None,
    k: str | None = None,
    ratio: str | None = None,
    sigma: str | None = None,
    every: str | None = None,
    epochs: int | None = None,
    epoch_steps: int | None = None,
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
) -> ToldTuning:
    """Try every regime with the same number of configurations, and choose by what `train` returns as `validation`.

    What it returns as `test` is dropped. Hand what this gives to `compare(train, tuned=…)`, with other seeds. Calling
    it again continues an interrupted tuning. See docs/tuning.md.

    Args:
        train: as `compare` takes it; it trains by `trial.settings["lr"]`.
        regimes: each once, as text or a list; an option that one has is not tuned.
        configs: configurations of each regime.
        seeds: which; they cannot be compared with afterwards.
        lr: learning rates: `A..B`, a list such as `A,B,C`, or a file with a value per line; None: around the settings'.
        k: likewise, in epochs or in % of training; None: 1%..15%.
        ratio: likewise; None: 1e-6..1e-1.
        sigma: of `cbs`, in pixels; None: 0.25..1.
        every: of `cbs`, in epochs or in % of training; None: 1%..10%.
        epochs: of the training, for axes in %.
        epoch_steps: optimizer steps of an epoch; with them, k is never below a step.
        metric: see `compare`, as all that follow.
        goal: `max` or `min`.
        unit: of what is shown.
        scale: from what is returned to what is shown.
        name: in tables.
        settings: that the function finds in `trial.settings`.
        out: folder of the tuning; None: runs/NAME-tuned.
        workers: runs side by side.
        engine: who runs the workers.
        device: that the function finds in `trial.device`.
        threads: of each run on the CPU.
        code: `accept` to go on although the file has changed.

    Raises:
        StudyError: a ValueError, if any of it cannot be.
    """
    _check(engine, workers, code)
    of = {"name": name, "device": device, "threads": threads, "accept": code == "accept", "here": engine == "local"}
    base = _asked(train, workers, BASE, seeds, settings, Judged(metric, goal, unit, scale), of)
    words = {"lr": lr, "k": k, "ratio": ratio, "sigma": sigma, "every": every}
    texts = regimes if isinstance(regimes, str) else ",".join(regimes)
    asked = tuning_study(base, texts, configs, words, epochs, epoch_steps)
    folder = Path(out) if out is not None else Path("runs") / f"{asked.experiments[0].slug}-tuned"
    session = Session(folder, asked, "out", engine)
    held = {asked.experiments[0].name: train} if workers == 0 else {}
    with session.claimed() as study, holding(held):
        session.train(study.runs(), workers)
        study = session.settled()
        outcomes = session.write_tables(study)
        return tell_tuning(Where([folder], folder, engine), of_study([folder], study, outcomes, "out"))


def _check(engine: str, workers: int | None, code: str | None) -> None:
    check_not_loading()
    require_engine(engine)
    if workers is not None and (type(workers) is not int or workers < 0):
        raise StudyError(f"workers must be a count of 0 or more, got {workers!r}")
    if code not in (None, "accept"):
        raise StudyError(f"code must be 'accept' or None, got {code!r}")


def _asked(
    train: Callable[[Trial], Any],
    workers: int | None,
    regimes: str,
    seeds: int | str | Sequence[int],
    settings: Mapping[str, Any] | None,
    judged: Judged,
    of: dict[str, Any],
) -> Study:
    source = source_of(train, elsewhere=workers != 0)
    word = f"{source.file}:{source.function}" if source.file else source.name
    asked: dict[str, Any] = {"regimes": regimes, "seeds": _seeds(seeds), "values": settings or {}, "judged": judged}
    return request_functions({word: source}, **asked, **of)


def _seeds(seeds: int | str | Sequence[int]) -> list[int]:
    if isinstance(seeds, bool) or not isinstance(seeds, int | str | Sequence):
        raise StudyError(f"seeds must be a count or a list of integers, got {seeds!r}")
    if isinstance(seeds, int | str):
        return parse_seeds(str(seeds))
    if strange := [seed for seed in seeds if isinstance(seed, bool) or not isinstance(seed, int)]:
        raise StudyError(f"seeds must be integers, got {strange[0]!r}")
    return parse_seeds(",".join(map(str, seeds)))
