"""What a study shows: means, paired differences, tests, failures, verdicts in plain words. See docs/statistics.md."""

from lerac.study.statistics.analysis import Analysis, Cell, Pooled
from lerac.study.statistics.evidence import Evidence, gather
from lerac.study.statistics.exact_tests import (
    ALPHA,
    ExactTest,
    fewest_seeds,
    holm,
    sign_flip_test,
    smallest_p,
    wilcoxon_test,
)
from lerac.study.statistics.failures import Failures, failures
from lerac.study.statistics.improvement import RESAMPLES, Improvement, probability_of_improvement
from lerac.study.statistics.networks import Disagreement, Predictions, Tally, disagreement, read_predictions, tally
from lerac.study.statistics.outlook import Outlook, outlook
from lerac.study.statistics.pooling import Estimate, PooledDifference, interquartile_mean, pool
from lerac.study.statistics.seeds_needed import POWER, SeedsNeeded, detectable_difference, seeds_needed
from lerac.study.statistics.student import CONFIDENCE, student_interval, student_p
from lerac.study.statistics.summary import BASELINE, Difference, Summary, paired_difference, summarise
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
    "Outlook",
    "Pooled",
    "PooledDifference",
    "Predictions",
    "SeedsNeeded",
    "Summary",
    "Tally",
    "analyse",
    "choose_baseline",
    "detectable_difference",
    "disagreement",
    "failures",
    "fewest_seeds",
    "gather",
    "holm",
    "interquartile_mean",
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
    "verdict",
    "wilcoxon_test",
]
