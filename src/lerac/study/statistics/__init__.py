"""What a study shows: means, paired differences, tests, failures, verdicts in plain words. See docs/statistics.md."""

from lerac.study.statistics.analysis import Analysis, Cell, Pooled
from lerac.study.statistics.exact_tests import (
    ALPHA,
    Evidence,
    ExactTest,
    fewest_seeds,
    gather,
    holm,
    label_test,
    sign_flip_test,
    smallest_p,
    wilcoxon_test,
)
from lerac.study.statistics.networks import Disagreement, Predictions, Tally, disagreement, read_predictions, tally
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.pairing.reasons import why_not_paired
from lerac.study.statistics.pairing.student import CONFIDENCE, student_interval, student_p
from lerac.study.statistics.pairing.welch import UnpairedDifference, unpaired_difference, welch_interval, welch_p
from lerac.study.statistics.pooling import (
    RESAMPLES,
    Estimate,
    Improvement,
    PooledDifference,
    interquartile_mean,
    pool,
    probability_of_improvement,
    unpaired_improvement,
)
from lerac.study.statistics.seeds_needed import (
    POWER,
    Outlook,
    SeedsNeeded,
    detectable_difference,
    outlook,
    seeds_needed,
)
from lerac.study.statistics.summary import (
    BASELINE,
    Difference,
    Failures,
    Summary,
    failures,
    paired_difference,
    summarise,
)
from lerac.study.statistics.verdicts import p_number, p_text, seed_ranges, seeds_text, verdict
from lerac.study.statistics.whole_study import analyse, choose_baseline

__all__ = [
    "ALPHA",
    "BASELINE",
    "CONFIDENCE",
    "POWER",
    "RESAMPLES",
    "Analysis",
    "Cell",
    "Difference",
    "Disagreement",
    "Estimate",
    "Evidence",
    "ExactTest",
    "Failures",
    "Improvement",
    "Outcome",
    "Outlook",
    "Pooled",
    "PooledDifference",
    "Predictions",
    "SeedsNeeded",
    "Summary",
    "Tally",
    "UnpairedDifference",
    "analyse",
    "choose_baseline",
    "detectable_difference",
    "disagreement",
    "failures",
    "fewest_seeds",
    "gather",
    "holm",
    "interquartile_mean",
    "label_test",
    "outlook",
    "p_number",
    "p_text",
    "paired_difference",
    "pool",
    "probability_of_improvement",
    "read_predictions",
    "seed_ranges",
    "seeds_needed",
    "seeds_text",
    "sign_flip_test",
    "smallest_p",
    "student_interval",
    "student_p",
    "summarise",
    "tally",
    "unpaired_difference",
    "unpaired_improvement",
    "verdict",
    "welch_interval",
    "welch_p",
    "why_not_paired",
    "wilcoxon_test",
]
