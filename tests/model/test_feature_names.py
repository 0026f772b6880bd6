"""Data frame columns are compared by name with those that a model was trained on."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fastbp
from fastbp import BatchNorm, Dense, MLPRegressor, Sequential
from fastbp.storage.snapshot import from_contents, to_contents

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = X @ [1.0, -2.0, 3.0]
NAMES = ["size", "age", "price"]
FRAMES = {
    "pandas": lambda values, names: pd.DataFrame(values, columns=names),
    "polars": lambda values, names: pl.DataFrame(values, schema=names),
    "pyarrow": lambda values, names: pa.table(dict(zip(names, values.T, strict=True))),
    "record batch": lambda values, names: pa.record_batch(dict(zip(names, values.T, strict=True))),
}
FRAME = pd.DataFrame(X, columns=NAMES)


def build():
    model = Sequential([Dense(4), BatchNorm(), Dense(1)], seed=0)
    model.compile("adam", "mse")
    return model


ENTRIES = {
    "fit": lambda model, frame: model.fit(frame, Y),
    "validation": lambda model, frame: model.fit(FRAME, Y, validation_data=(frame, Y)),
    "evaluate": lambda model, frame: model.evaluate(frame, Y),
    "predict": lambda model, frame: model.predict(frame),
    "train_on_batch": lambda model, frame: model.train_on_batch(frame, Y),
    "gradients": lambda model, frame: model.gradients(frame, Y),
    "source": lambda model, frame: model.fit(iter([(frame, Y)])),
    "validation source": lambda model, frame: model.fit(FRAME, Y, validation_data=iter([(frame, Y)])),
    "predict from a source": lambda model, frame: model.predict(iter([frame])),
    "evaluate on a source": lambda model, frame: model.evaluate(iter([(frame, Y)])),
    "diagnose": lambda model, frame: fastbp.diagnose(model, frame, Y),
}
OTHERS = {
    "reordered columns": (["age", "size", "price"], "but has another order"),
    "missing column": (["size", "age"], "must have .* columns|lacks 'price'"),
    "renamed column": (["size", "age", "cost"], "but lacks 'price' and has 'cost' in addition"),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize("case", OTHERS)
def test_mismatched_columns_are_refused(case, library, entry):
    names, message = OTHERS[case]
    model = build()
    model.fit(FRAME, Y)
    before = [W.tobytes() for W in model.get_weights()]
    with pytest.raises(ValueError, match=message):
        ENTRIES[entry](model, FRAMES[library](X[:, : len(names)], names))
    assert [W.tobytes() for W in model.get_weights()] == before
    ENTRIES[entry](model, FRAMES[library](X, NAMES))


@pytest.mark.parametrize("first", [
    lambda model: model.fit(FRAME, Y), lambda model: model.train_on_batch(FRAME, Y),
    lambda model: model.fit([(FRAME, Y), (FRAME, Y)]), lambda model: model.fit(lambda: iter([(FRAME, Y)])),
])  # fmt: skip
def test_names_come_from_the_first_training_data(first):
    model = build()
    model.evaluate(FRAME[["age", "size", "price"]], Y)
    assert model.feature_names is None
    first(model)
    assert model.feature_names == ("size", "age", "price")


def test_validation_and_chunks_must_match_the_first_frame():
    permuted = FRAME[["price", "age", "size"]]
    for call in (lambda m: m.fit(FRAME, Y, validation_data=(permuted, Y)), lambda m: m.fit([(FRAME, Y), (permuted, Y)]),
                 lambda m: m.fit([(FRAME, Y)], validation_data=[(permuted, Y)])):  # fmt: skip
        with pytest.raises(ValueError, match="the same order, but has another order"):
            call(build())


def test_arrays_and_numbered_columns_match_by_position():
    model = build()
    model.fit(FRAME, Y)
    expected = model.predict(X)
    np.testing.assert_array_equal(model.predict(FRAME), expected)
    np.testing.assert_array_equal(model.predict(pd.DataFrame(X)), expected)
    np.testing.assert_array_equal(model.predict(X.tolist()), expected)
    unnamed = build()
    unnamed.fit(pd.DataFrame(X), Y)
    assert unnamed.feature_names is None
    unnamed.predict(FRAME)


def test_names_survive_compile_save_pickle_and_fold(tmp_path):
    model = build()
    model.fit(FRAME, Y)
    model.save(tmp_path / "m.safetensors")
    kept = {
        "loaded": fastbp.load(tmp_path / "m.safetensors"), "pickled": pickle.loads(pickle.dumps(model)),
        "folded": fastbp.fold(model),
    }  # fmt: skip
    model.compile("sgd", "mae")
    for copy in (model, *kept.values()):
        assert copy.feature_names == ("size", "age", "price")
        with pytest.raises(ValueError, match="another order"):
            copy.predict(FRAME[NAMES[::-1]])
        with pytest.raises(ValueError, match="another order"):
            copy.evaluate(FRAME[NAMES[::-1]], Y)


@pytest.mark.parametrize("names", ["abc", ["a", "b"], ["a", "b", 3], {"a": 1}])
def test_files_with_invalid_names_are_refused(names):
    contents = to_contents(build_fitted().snapshot())
    contents.model["feature_names"] = names
    with pytest.raises(fastbp.CheckpointError, match="feature names"):
        from_contents(contents)


def build_fitted():
    model = build()
    model.fit(FRAME, Y)
    return model


def test_estimator_model_has_the_feature_names():
    estimator = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", max_iter=1000, random_state=0).fit(FRAME, Y)
    assert estimator.model_.feature_names == ("size", "age", "price")
    with pytest.raises(ValueError, match="another order"):
        estimator.model_.predict(FRAME[NAMES[::-1]])


# ---------------------------------------------------------------- layer sizes


@pytest.mark.parametrize(("last", "loss"), [
    ("softmax", "mse"), ("softmax", "cross_entropy"), ("identity", "cross_entropy"), ("identity", "categorical_hinge"),
])  # fmt: skip
def test_softmax_of_one_unit_warns(last, loss):
    model = Sequential([Dense(1, last)])
    with pytest.warns(UserWarning, match="a softmax of one unit is always 1"):
        model.compile("adam", loss)


@pytest.mark.parametrize("make", [lambda: Dense(64.7), lambda: Dense(True), lambda: Dense(np.float64(3)),
                                  lambda: Sequential([Dense(1)], input_size=3.5),
                                  lambda: fastbp.ColumnEmbedding({0: (3, 2.5)})])  # fmt: skip
def test_non_integer_units_are_refused(make):
    with pytest.raises((TypeError, ValueError), match="must be"):
        make()
