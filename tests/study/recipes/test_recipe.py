import pytest

from lerac.study.errors import StudyError
from lerac.study.models import MODELS
from lerac.study.plan.request import parse_seeds
from lerac.study.recipes.recipe import Recipe, load_recipe, recipe_names, recipe_sources, recipe_text

OUR_OWN = ("/digits", "/fashion-mnist", "/mnist1d")  # data that the paper does not have


@pytest.mark.parametrize(("name", "source"), [(n, s) for n in recipe_names() for s in recipe_sources(n)])
def test_every_value_of_our_recipes_has_a_source(name, source):
    recipe = load_recipe(name, source=source)
    assert (recipe.name, recipe.source) == (name, source)
    for section, values in recipe.settings().items():
        if section in recipe.sources:
            continue
        assert isinstance(values, dict), f"{section} has no source"
        for key in values.keys() - {"label_noise"}:
            assert f"{section}.{key}" in recipe.sources, f"{section}.{key} has no source"
    for key in recipe.ranges:
        assert recipe.sources[key].startswith("ours: "), f"{key} was chosen in a range, so it is ours"


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_takes_its_first_source_if_none_is_named(name):
    first, *others = recipe_sources(name)
    assert load_recipe(name) == load_recipe(name, source=first)
    assert all(load_recipe(name, source=other) != load_recipe(name) for other in others)


def test_values_of_the_paper_are_those_of_its_table_with_its_ranges():
    recipe = load_recipe("resnet18/tiny-imagenet", source="paper")
    assert recipe.ranges == {"training.epochs": [100, 200], "lerac.k": [5, 7], "cbs.every": [2, 5]}
    assert (recipe.optimizer.lr, recipe.lerac.ratio, recipe.lerac.k) == (0.1, 1e-7, 5)
    assert recipe.published["lerac"] == [57.86, 0.20]
    assert "published" not in recipe.settings()
    recipe = load_recipe("cvt13/cifar10")
    assert recipe.ranges["training.batch_size"] == [64, 128]
    assert recipe.published["lerac(curve=linear)"] == [72.49, 0.27]
    assert load_recipe("bert-large/rte").ranges == {"training.epochs": [7, 25]}


def test_a_value_outside_the_range_of_the_paper_is_refused_in_a_file_but_may_be_set(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(recipe_text("resnet18/cifar10").replace("k = 5 # epochs\nratio = 1e-7", "k = 4\nratio = 1e-7"))
    with pytest.raises(StudyError, match=r"ranges: lerac.k must be in \[5, 7\], got 4"):
        load_recipe(str(path))
    assert load_recipe("resnet18/cifar10", ["lerac.k=4"]).lerac.k == 4


def test_what_the_paper_does_not_have_has_no_source_paper_and_no_published_numbers():
    for name in recipe_names():
        ours = name.endswith(("food101", "imagenet200", "utkface", "/voc", *OUR_OWN))
        in_code = not name.startswith(("lstm/", "septr/", "densenet121/")) and not name.endswith(
            ("utkface", "/voc", "cvt13-pretrained/imagenet200", *OUR_OWN)
        )
        assert recipe_sources(name) == [("ours" if ours else "paper"), *(["official"] if in_code else [])]
        recipe = load_recipe(name)
        assert bool(recipe.published) != ours
        if ours:  # what the paper has of them are names and the equation
            papers = {key for key, source in recipe.sources.items() if source.startswith("paper: ")}
            assert papers <= {"model", "dataset", "lerac.curve"}, name


def test_several_sources_in_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    text = recipe_text("digits").replace('source = "ours"', "")
    path.write_text(text + "\n[official.training]\nepochs = 3\n[ours]\nsurprises = ['none']\n")
    assert recipe_sources(str(path)) == ["official", "ours"]
    assert load_recipe(str(path)).training.epochs == 3
    assert load_recipe(str(path)).training.batch_size == 64
    assert load_recipe(str(path), source="ours").training.epochs == 25
    with pytest.raises(StudyError, match="no settings from source 'paper', only from 'official', 'ours'"):
        load_recipe(str(path), source="paper")
    path.write_text('source = "ours"\n' + text + "\n[official.training]\nepochs = 3\n")
    with pytest.raises(StudyError, match="remove source = …, the tables official say it"):
        load_recipe(str(path))
    path.write_text("ours = 3\n" + text)
    with pytest.raises(StudyError, match="ours must be a table"):
        load_recipe(str(path))


def test_what_is_not_set_is_no_part_of_a_configuration():
    values = load_recipe("digits").settings()
    assert set(values) == {
        "model",
        "dataset",
        "data",
        "training",
        "network",
        "optimizer",
        "schedule",
        "warmup",
        "lerac",
        "cbs",
    }
    assert values["training"] == {"epochs": 25, "batch_size": 64}
    assert values["schedule"] == {"name": "constant"}


def test_digits_is_the_demo():
    assert load_recipe("digits") == load_recipe("small-cnn/digits")


def test_overrides_are_typed_and_leave_a_trace():
    recipe = load_recipe("digits", ["training.epochs=3", "optimizer.lr=1", "lerac.curve=linear"])
    assert (recipe.training.epochs, recipe.optimizer.lr, recipe.lerac.curve) == (3, 1.0, "linear")
    assert recipe.sources["training.epochs"] == "set: on the command line"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.epoch=3", "unknown key 'training.epoch'; allowed in [training]: epochs, batch_size"),
        ("data.train=1", "data.train must be 2 or more to train on, got 1"),
        ("foo=1", "unknown key 'foo'; allowed: model, dataset, source, data, training"),
        ("training.epochs=many", "training.epochs: input should be a valid integer, got 'many'"),
        ("training.epochs=2.5", "training.epochs: input should be a valid integer, got 2.5"),
        ("training.epochs=true", "training.epochs: input should be a valid integer, got True"),
        ("training.epochs=0", "greater than or equal to 1, got 0"),
        ("training.epochs", "--set takes key=value like training.epochs=10, got 'training.epochs'"),
        ("training=3", "'training' is a section; its keys are epochs, batch_size"),
        ("model.x=3", "'model' is a value, not a section"),
        ("model=x", f"model must be one of {', '.join(MODELS)}"),
        ("lerac.k=7\nx=1", "--set takes key=value"),
        ("lerac.staircase.x=1", "unknown key 'lerac.staircase.x'; allowed in [lerac.staircase]: base, cap"),
        ("cbs.sigmas=1", "unknown key 'cbs.sigmas'; allowed in [cbs]: sigma, decay, every"),
        ("lerac.curve=staircase", "the curve staircase and the section [lerac.staircase] go together"),
        ("schedule.name=plateau", "plateau needs divide_by, patience and nothing else, got none"),
        ("schedule.floor=1e-4", "constant takes no other key, got floor"),
        ("ranges.training=[1,2]", "ranges is what a recipe says about its values, not one of them"),
        ("paper.lerac.k=3", "unknown key 'paper'"),
        ("published.lerak=[90.0,1.0]", "published is what a recipe says about its values"),
        ("model=yolov5", "yolov5 detects objects, but digits has no boxes"),
        ("network.width=4", "unknown network option 'width'; allowed: widths, blocks"),
        ("network.widths=[]", "network option widths: value should have at least 1 item"),
        ("network.blocks=0", "network option blocks: input should be greater than or equal to 1, got 0"),
        ("network.widths=[4, 'x']", "network option widths.1: input should be a valid integer, got 'x'"),
        ("optimizer.name=lion", "'sgd', 'adam', 'adamw' or 'adamax', got 'lion'"),
        ("optimizer.name=adam", "momentum is an option of sgd; adam has none"),
        ("optimizer.lr=nan", "finite number, got nan"),
        ("lerac.ratio=2", "less than or equal to 1, got 2"),
        (
            "lerac.curve=spline",
            "curve must be one of exponential, linear, logarithmic, cosine, staircase, got 'spline'",
        ),
        ("data.label_noise=1.0", "less than 1, got 1.0"),
    ],
)
def test_bad_overrides_are_refused_in_one_line(override, says):
    with pytest.raises(StudyError) as refused:
        load_recipe("digits", [override])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_of_the_user(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(recipe_text("digits").replace("batch_size = 64", "batch_size = 32"))
    assert load_recipe(str(path)).training.batch_size == 32
    path.write_text("model = ")
    with pytest.raises(StudyError, match="not valid TOML"):
        load_recipe(str(path))
    path.write_text('model = "small-cnn"')
    with pytest.raises(StudyError, match="dataset is missing"):
        load_recipe(str(path))


def test_unknown_recipe_and_source():
    with pytest.raises(StudyError, match=r"unknown recipe 'nope': .*small-cnn/digits, .*, digits"):
        load_recipe("nope")
    with pytest.raises(StudyError, match="no settings from source 'paper', only from 'ours'"):
        load_recipe("digits", source="paper")


def test_notes_are_checked():
    values = load_recipe("digits").model_dump()
    for key, note, says in (
        ("published", {"lerak": [90.0, 1.0]}, "unknown regime 'lerak'"),
        ("published", {"lerac(ratio=1e-5,curve=linear)": [90.0, 1.0]}, r"write lerac\(curve=linear,ratio=1e-5\) for"),
        ("published", {"lerac": [90.0]}, "at least 2 items"),
        ("ranges", {"training": [1, 2]}, "'training' is no number of this recipe"),
        ("ranges", {"lerac.k": [8, 9]}, r"lerac.k must be in \[8, 9\], got 3"),
    ):
        with pytest.raises(ValueError, match=says):
            Recipe.model_validate({**values, key: note})


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("lerac.k=4", "lerac.k must be 5, what [lerac.staircase] comes to; change it there"),
        ("lerac.ratio=1e-6", "lerac.ratio must be 1e-05, what [lerac.staircase] comes to"),
        ("lerac.staircase.updates_per_epoch=2", "lerac.k must be 2.5"),
        ("lerac.staircase.updates_per_epoch=3", "lerac.staircase.updates_per_epoch: input should be 1, 2 or 4, got 3"),
        ("lerac.staircase.cap=0.0", "greater than 0, got 0.0"),
        ("schedule.epochs=[65,35]", "epochs must rise, got [65, 35]"),
        ("data.validation=none", "data.validation"),
    ],
)
def test_bad_overrides_of_official_settings(override, says):
    with pytest.raises(StudyError) as refused:
        load_recipe("resnet18/cifar10", [override], "official")
    assert says in str(refused.value)


def test_none_removes_what_need_not_be_there():
    recipe = load_recipe("resnet18/cifar10", ["training.early_stopping=none", "cbs=none"])
    assert recipe.training.early_stopping is None
    assert recipe.cbs is None
    assert "early_stopping" not in recipe.settings()["training"]
    assert recipe.sources["training.early_stopping"] == "set: on the command line"
    overrides = ["lerac.staircase=none", "lerac.curve=exponential", "lerac.ratio=1e-3"]
    assert load_recipe("resnet18/cifar10", overrides, "official").lerac.staircase is None
    assert load_recipe("resnet18/cifar10", ["training.drop_last=none"]).training.drop_last is None
    for override, says in (
        ("training.epochs=none", "training.epochs: input should be a valid integer, got None"),
        ("training.early_stoping=none", "unknown key 'training.early_stoping'"),
        ("training=none", "training"),
        ("nothing=none", "unknown key 'nothing'"),
        ("network.widths=none", "network option widths"),
    ):
        with pytest.raises(StudyError, match=says):
            load_recipe("resnet18/cifar10", [override])


def test_sources_must_name_real_keys_and_known_origins():
    values = load_recipe("digits").model_dump()
    for key, source, says in (("training.lr", "ours: x", "no key"), ("training", "somewhere", "must start with")):
        with pytest.raises(ValueError, match=says):
            Recipe.model_validate({**values, "sources": {key: source}})


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("5", [0, 1, 2, 3, 4]),
        ("100-103", [100, 101, 102, 103]),
        ("7,3, 4", [3, 4, 7]),
        ("1,5-6", [1, 5, 6]),
        ("3,", None),
    ],
)
def test_seeds(text, seeds):
    if seeds is None:
        with pytest.raises(StudyError, match="takes a count"):
            parse_seeds(text)
    else:
        assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["0", "", "x", "1,1", "5-3", "-1", "1.5", "1,,2", "12345678901234"])
def test_bad_seeds(text):
    with pytest.raises(StudyError, match="--seeds"):
        parse_seeds(text)
