import pytest

from lerac.study.errors import StudyError
from lerac.study.recipe import Recipe, load_recipe, recipe_names, recipe_text
from lerac.study.requests import parse_seeds


@pytest.mark.parametrize("name", recipe_names())
def test_every_value_of_our_recipes_has_a_source(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    for section, values in recipe.settings().items():
        if section in recipe.sources:
            continue
        assert isinstance(values, dict), f"{section} has no source"
        for key, value in values.items():
            assert value is None or f"{section}.{key}" in recipe.sources, f"{section}.{key} has no source"


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
        ("foo=1", "unknown key 'foo'; allowed: model, dataset, source, data, training"),
        ("training.epochs=many", "training.epochs: input should be a valid integer, got 'many'"),
        ("training.epochs=2.5", "training.epochs: input should be a valid integer, got 2.5"),
        ("training.epochs=true", "training.epochs: input should be a valid integer, got True"),
        ("training.epochs=0", "greater than or equal to 1, got 0"),
        ("training.epochs", "--set takes key=value like training.epochs=10, got 'training.epochs'"),
        ("training=3", "'training' is a section; its keys are epochs, batch_size"),
        ("model.x=3", "'model' is a value, not a section"),
        ("model=x", "model must be one of lenet, resnet18, small-cnn, wrn52-2, got 'x'"),
        ("optimizer.name=lion", "'sgd', 'adam', 'adamw' or 'adamax', got 'lion'"),
        ("optimizer.name=adam", "momentum is an option of sgd; adam has none"),
        ("optimizer.lr=nan", "finite number, got nan"),
        ("lerac.ratio=2", "less than or equal to 1, got 2"),
        ("lerac.curve=spline", "curve must be one of exponential, linear, logarithmic, cosine, got 'spline'"),
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
    with pytest.raises(StudyError, match=r"unknown recipe 'nope': .*small-cnn/digits, digits"):
        load_recipe("nope")
    with pytest.raises(StudyError, match="no settings from source 'paper', only from 'ours'"):
        load_recipe("digits", source="paper")


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
