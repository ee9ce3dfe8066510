"""Student's t for the mean of paired differences, for one comparison or many at once."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["CONFIDENCE", "DIGITS", "ROUNDING", "student_interval", "student_p"]

CONFIDENCE = 0.95
DIGITS = 9
ROUNDING = 10.0**-DIGITS  # values that differ by less are equal but for rounding


def student_interval(
    differences: "ArrayLike", confidence: float = CONFIDENCE
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]:
    """Give mean and both ends of its interval: mean ± t(n − 1) · sd / √n.

    Args:
        differences: (…, n), n of at least 2; the last axis is the seeds.
        confidence: share of intervals that hold the true mean if differences are normal, in (0, 1).

    Returns:
        Mean, lower and upper end, each of shape (…). Without spread the interval has no width.

    Raises:
        ValueError: below two differences, or a confidence that is no share.
    """
    mean, error, n = _mean_and_error(differences)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: a share between 0 and 1 was expected, such as 0.95")
    from scipy import stats  # here, because it takes long to load

    reach = stats.t.ppf((1 + confidence) / 2, df=n - 1) * error
    return mean, mean - reach, mean + reach


def student_p(differences: "ArrayLike") -> "NDArray[np.float64]":
    """Give the two-sided p of the paired t-test: below 1 − confidence just where the interval excludes 0.

    Args:
        differences: (…, n), n of at least 2.

    Returns:
        Shape (…): NaN where the differences have no spread.

    Raises:
        ValueError: below two differences.
    """
    import numpy as np
    from scipy import stats

    mean, error, n = _mean_and_error(differences)
    values = np.asarray(differences, dtype=np.float64)
    spread = values.max(axis=-1) - values.min(axis=-1) >= ROUNDING
    t = np.divide(np.abs(mean), error, out=np.full_like(mean, np.nan), where=spread)
    return np.asarray(2 * stats.t.sf(t, df=n - 1))


def _mean_and_error(differences: "ArrayLike") -> tuple[Any, Any, int]:
    import numpy as np

    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1] if values.ndim else 1
    if n < 2:
        raise ValueError(f"{n} difference: an interval of the mean needs two or more")
    return values.mean(axis=-1), values.std(axis=-1, ddof=1) / np.sqrt(n), n
