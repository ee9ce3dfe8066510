import pytest
from rich.console import Console
from studies import make_study, train_here

from lerac.study.runs.estimate import Pace
from lerac.study.runs.outcomes import collect, outcome_of
from lerac.study.terminal.study import print_plan


def result(run, seconds=(), ended=False):
    return outcome_of(run, {"state": "done"} if ended else None, [{"seconds": s} for s in seconds], None, [])


def test_the_rest_takes_as_long_per_epoch_as_what_there_is():
    a0, b0, a1, b1 = make_study("conventional", "lerac", seeds=(0, 1), epochs=10).runs()
    results = [result(a0, range(2, 22, 2), ended=True), result(b0, [4, 8]), result(a1, [4, 8]), result(b1)]
    estimate = Pace.of(results)
    # An epoch of conventional takes (2 + 4) / 2 s, of lerac 4 s.
    assert [estimate.left(one) for one in results] == [0, 8 * 4, 8 * 3, 10 * 4]
    unknown = make_study("cbs", epochs=10).runs()[0]
    assert estimate.left(result(unknown)) == pytest.approx(10 * (2 + 4 + 4) / 3)  # as its recipe's other regimes
    elsewhere = make_study(epochs=10, overrides=('model="resnet18"',)).runs()[0]
    assert estimate.left(result(elsewhere)) is None


@pytest.mark.parametrize(
    ("seconds", "side_by_side", "says"),
    [
        ([2], 2, "3 runs, 2 to train: about 40 s of training, 20 s side by side"),
        ([2], 5, "3 runs, 2 to train: about 40 s of training, 20 s side by side"),  # the longest run takes that
        ([20], 1, "3 runs, 2 to train: about 7 min of training, 7 min side by side"),
        ([2000], None, "3 runs, 2 to train: about 11.1 h of training"),
        ([], 2, "3 runs, 3 to train"),
    ],
)
def test_the_last_line_of_a_plan(seconds, side_by_side, says, capsys):
    first, *others = make_study(seeds=(0, 1, 2), epochs=10).runs()
    results = [result(first, seconds, ended=bool(seconds)), *map(result, others)]
    print_plan(Console(width=120), results, Pace.of(results), side_by_side, as_json=False)
    assert capsys.readouterr().out.splitlines()[-1] == says


def test_one_training_by_two_names_is_planned_and_counted_once(tmp_path, capsys):
    study = make_study("lerac", "lerac(k=1)", "lerac(k=2)", epochs=2)
    one, same, other = study.runs()
    assert one.folder == same.folder != other.folder
    print_plan(Console(width=120), collect(tmp_path, study.runs()), Pace({}), 1, as_json=False)
    assert capsys.readouterr().out.endswith("3 runs, 2 to train\n")
    train_here(tmp_path, study, [one, other])
    rows = [row.rsplit(",", 3)[0:2] for row in (tmp_path / "results.csv").read_text().splitlines()[1:]]
    assert len(rows) == 3 * 4  # each name has its rows
    text = (tmp_path / "results.csv").read_text()
    values = {
        name: [row.split(name)[1] for row in text.splitlines() if name in row] for name in (",lerac,", ",lerac(k=1),")
    }
    assert values[",lerac,"] == values[",lerac(k=1),"] != []
