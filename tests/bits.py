"""Hashes of the results of many trainings, to compare two versions of fastbp on one machine, bit by bit.

    python -m tests.bits --write before.txt          with the old code
    python -m tests.bits --compare before.txt        with the new code: prints differences; exit code 1 if any

Every line is `name/threads  hash`: of the tensors in the saved file (weights and optimizer states), the epoch logs, an
evaluation, gradients, and predictions of all rows and of one row. The script uses only the public API, so that it runs
before and after any internal change. FASTBP_ISA selects the instruction set; hashes of different instruction sets, or
of different versions of NumPy or Numba, differ.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from safetensors.numpy import load_file

import fastbp
from fastbp import (
    Activation,
    BatchNorm,
    ColumnEmbedding,
    Dense,
    Dropout,
    GaussianNoise,
    LayerNorm,
    Residual,
    Sequential,
    callbacks,
    losses,
    optimizers,
    schedules,
    sources,
)

N, FEATURES, CLASSES = 600, 100, 7
rng = np.random.default_rng(20260101)
X = rng.normal(size=(N, FEATURES))
LABELS = rng.integers(0, CLASSES, N)
NUMBERS = X[:, :4] * rng.normal(size=4) + 0.1 * rng.normal(size=(N, 4))
COUNTS = rng.integers(0, 6, (N, 4)).astype(np.float64)
SIGNS = np.sign(X[:, :4])
PROBABILITIES = rng.random((N, 4))
WEIGHT = rng.random(N) * rng.integers(0, 3, N)
SPARSE = scipy.sparse.csr_matrix(np.where(rng.random((N, FEATURES)) < 0.1, X, 0))
CODES = np.column_stack([rng.integers(0, 5, N), X[:, :3], rng.integers(0, 40, N)])
TARGETS = {"classes": LABELS, "numbers": NUMBERS, "counts": COUNTS, "signs": SIGNS, "probabilities": PROBABILITIES}

Task = Callable[[int], list[Any]]  # maps a number of threads to arrays
TASKS: dict[str, Task] = {}


def square_root(z: float) -> float:
    return math.copysign(math.sqrt(1 + abs(z)) - 1, z)


def square_root_derivative(z: float) -> float:
    return 0.5 / math.sqrt(1 + abs(z))


def quartic(a: float, y: float) -> float:
    return (a - y) ** 2 + 0.1 * (a - y) ** 4


def quartic_derivative(a: float, y: float) -> float:
    return 2 * (a - y) + 0.4 * (a - y) ** 3


def inverse_decay(steps: Any) -> Any:
    return 0.1 / (1 + steps)


# ---------------------------------------------------------------- networks


def every_layer(outputs: int = CLASSES, last: str = "softmax", **options: Any) -> list[Any]:
    """A network with every kind of layer that takes numeric features."""
    return [
        GaussianNoise(0.1),
        Dense(130, "relu", **options),
        BatchNorm(),
        Activation("tanh"),
        Residual([LayerNorm(), Dense(130, "gelu"), Dropout(0.2)]),
        Residual([Dense(70, "silu", use_bias=False), Residual([Dense(70, "elu", **options)])]),
        Dropout(0.3),
        Dense(outputs, last),
    ]


def plain(outputs: int, last: str = "identity", hidden: Any = "tanh") -> list[Any]:
    return [Dense(130, hidden), Dense(70, hidden), Dense(outputs, last)]


def embedding(**options: Any) -> list[Any]:
    return [ColumnEmbedding({0: 5, 4: 40}, [3, 17], **options), Dense(200, "relu"), Dense(130, "relu"), Dense(7)]


# ---------------------------------------------------------------- tasks


def results_of(model: Sequential, rows: Any, y: Any, history: Any = None, threads: int = 1) -> list[Any]:
    """All arrays that describe a trained model: tensors, epoch logs, predictions, metrics, gradients."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a learning rate that is a function is saved as its current value
        model.save(Path(folder) / "model.safetensors")
        tensors = load_file(Path(folder) / "model.safetensors")
    arrays = [tensors[name] for name in sorted(tensors)]
    if history is not None:
        arrays += [np.array(history.history[name]) for name in sorted(history.history)]
    arrays += [model.predict(rows, n_threads=threads), model.predict(rows[3:4], n_threads=threads)]
    if y is not None:
        arrays += list(model.evaluate(rows, y, n_threads=threads).values())
        arrays += [g for g in model.gradients(rows[:50], y[:50]) if g is not None]
    return arrays


def fitted(
    layers: Any,
    optimizer: Any = "adam",
    loss: Any = "cross_entropy",
    rows: Any = X,
    y: Any = LABELS,
    *,
    dtype: str = "float32",
    metrics: Any = (),
    watch: Callable[[], list[Any]] = list,
    source: Any = None,
    averaged: bool = False,
    **options: Any,
) -> Task:
    """Train for two epochs in batches of 257, 257 and 86 rows, none of which fills its last panel."""

    def task(threads: int) -> list[Any]:
        model = Sequential(layers() if callable(layers) else layers, seed=3, dtype=dtype)
        model.compile(optimizer, loss, metrics)
        given = {"batch_size": 257, "epochs": 2, "n_threads": threads, "callbacks": watch(), "verbose": 0} | options
        data = (rows, y) if source is None else (source(),)
        arrays = results_of(model, rows, y, model.fit(*data, **given), threads)
        return arrays + (model.averaged().get_weights() if averaged else [])

    return task


def fitted_estimator(kind: str, rows: Any, y: Any, calls: int = 0, **options: Any) -> Task:
    """Fit an estimator, or call partial_fit `calls` times."""

    def task(threads: int) -> list[Any]:
        given = {"hidden_layer_sizes": (130, 70), "batch_size": 257, "max_iter": 3, "random_state": 5}
        estimator = getattr(fastbp, kind)(**(given | options), n_threads=threads)
        if calls:
            first = {"classes": np.unique(y)} if kind == "MLPClassifier" else {}
            for number in range(calls):
                estimator.partial_fit(rows, y, **(first if not number else {}))
        else:
            estimator.fit(rows, y)
        proba = [estimator.predict_proba(rows)] if hasattr(estimator, "predict_proba") else []
        # float32: the number of epochs run at once depends on the clock, and so does the last bit of a float64 mean.
        curve = np.array(getattr(estimator, "loss_curve_", []), np.float32)
        return [*estimator.coefs_, *estimator.intercepts_, curve, estimator.predict(rows), *proba]

    return task


def single_steps(threads: int) -> list[Any]:
    """Single steps on the caller's own batches, then compile again, change the learning rate and fit."""
    model = Sequential(every_layer(), seed=3)
    model.compile(optimizers.AdamW(1e-2), "cross_entropy")
    values = [model.train_on_batch(X[i : i + 5 * i + 1], LABELS[i : i + 5 * i + 1]) for i in range(20)]
    model.compile(optimizers.SGD(0.1, momentum=0.9), "cross_entropy", ["accuracy"])
    model.learning_rate *= 0.5
    history = model.fit(X, LABELS, batch_size=64, n_threads=threads)
    return [np.array(values), *results_of(model, X, LABELS, history, threads)]


def saved_and_loaded(threads: int) -> list[Any]:
    model = Sequential(every_layer(), seed=3)
    model.compile(optimizers.Adam(1e-2, use_ema=True, gradient_accumulation_steps=4), "cross_entropy")
    model.fit(X, LABELS, batch_size=257, n_threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.safetensors")
        model = fastbp.load(Path(folder) / "model.safetensors")
    return results_of(model, X, LABELS, model.fit(X, LABELS, batch_size=257, n_threads=threads), threads)


def folded(threads: int) -> list[Any]:
    layers = [Dense(130), BatchNorm(), Activation("relu"), BatchNorm(), Dense(7, "softmax")]
    model = Sequential(layers, seed=3)
    model.compile("adam", "cross_entropy")
    model.fit(X, LABELS, batch_size=257, n_threads=threads)
    return results_of(fastbp.fold(model), X, None, threads=threads)


def initial_weights(name: str, dtype: str) -> Task:
    def task(threads: int) -> list[Any]:
        dense = [Dense(units, kernel_initializer=name, bias_initializer="random_normal") for units in (33, 65, 4)]
        return list(Sequential(dense, input_size=50, seed=9, dtype=dtype).get_weights())

    return task


def plain_kernels(dtype: str) -> Task:
    """The low-level kernels for custom training loops."""

    def task(threads: int) -> list[Any]:
        from fastbp import kernels

        draw = np.random.default_rng(1)
        x, W, b, dA = (draw.normal(size=shape).astype(dtype) for shape in ((33, 50), (50, 37), (37,), (33, 37)))
        arrays = []
        for activation in ("identity", "relu", "tanh", "sigmoid", "gelu", "silu", "mish", "softplus", "selu"):
            A = kernels.dense_forward(x, W, b, activation)
            dX, dW, db = kernels.dense_backward(dA, x, W, A, activation, b)
            arrays += [A, dX, dW, db]
        for optimizer in (optimizers.SGD(0.1), optimizers.Adam(0.1), optimizers.Lion(0.1), optimizers.RMSprop(0.1)):
            V, state = W.copy(), kernels.init_state(optimizer, W)
            for _ in range(3):
                kernels.update(optimizer, V, dW, state)
            arrays.append(V)
        return arrays

    return task


def learning_rates(threads: int) -> list[Any]:
    model = Sequential(plain(CLASSES, "softmax"), seed=3)
    model.compile("adam", "cross_entropy")
    found = fastbp.find_learning_rate(model, X, LABELS, batch_size=64)
    return [np.asarray(found.losses), np.asarray(found.suggestion)]


RULES = {
    "sgd": optimizers.SGD(0.1),
    "sgd decay": optimizers.SGD(0.1, weight_decay=0.1),
    "momentum": optimizers.SGD(0.1, momentum=0.9),
    "nesterov decay": optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": optimizers.Adam(0.01),
    "adam decay": optimizers.Adam(0.01, 0.8, 0.95, 1e-3, weight_decay=0.1),
    "amsgrad": optimizers.Adam(0.01, amsgrad=True),
    "adamw": optimizers.AdamW(0.01),
    "amsgradw": optimizers.AdamW(0.01, amsgrad=True),
    "nadam": optimizers.NAdam(0.01),
    "rmsprop": optimizers.RMSprop(0.01),
    "rmsprop momentum": optimizers.RMSprop(0.01, momentum=0.9, weight_decay=0.1),
    "rmsprop centered": optimizers.RMSprop(0.01, centered=True),
    "rmsprop centered momentum": optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adagrad": optimizers.Adagrad(0.05, 0.1),
    "adadelta": optimizers.Adadelta(0.5, 0.95),
    "lion": optimizers.Lion(0.01, weight_decay=0.1),
    "lamb": optimizers.LAMB(0.01),
    "muon": optimizers.Muon(0.02, adam_lr_ratio=0.1),
}
UPDATES = {
    "clipvalue": {"clipvalue": 0.01},
    "clipnorm": {"clipnorm": 0.05},
    "global_clipnorm": {"global_clipnorm": 0.1},
    "accumulation": {"gradient_accumulation_steps": 4},
    "ema": {"use_ema": True, "ema_momentum": 0.9},
    "decay of kernels": {"weight_decay": 0.1, "weight_decay_on": "kernels"},
    "all at once": {
        "clipnorm": 0.05, "gradient_accumulation_steps": 2, "use_ema": True, "ema_momentum": 0.8, "weight_decay": 0.1,
        "weight_decay_on": "kernels",
    },
}  # fmt: skip
KERNELS = {
    "l1": {"kernel_regularizer": fastbp.L1(1e-3)},
    "l2": {"kernel_regularizer": fastbp.L2(1e-2)},
    "l1 and l2": {"kernel_regularizer": fastbp.L1L2(1e-3, 1e-2)},
    "max norm": {"kernel_constraint": fastbp.MaxNorm(0.8)},
    "frozen": {"trainable": False},
    "slower": {"learning_rate_multiplier": 0.25},
    "slower biases": {"bias_learning_rate_multiplier": 0.1},
    "max norm and l2": {"kernel_constraint": fastbp.MaxNorm(0.8), "kernel_regularizer": "l2"},
}
LOSSES = {
    "mse": (losses.MSE(), 4, "identity"),
    "mae": (losses.MAE(), 4, "identity"),
    "huber": (losses.Huber(0.5), 4, "identity"),
    "log_cosh": (losses.LogCosh(), 4, "identity"),
    "quantile": (losses.Quantile((0.1, 0.5, 0.9)), 12, "identity"),
    "poisson": (losses.Poisson(), 4, "softplus"),
    "poisson log": (losses.Poisson(log_input=True), 4, "identity"),
    "gaussian_nll": (losses.GaussianNLL(full=True), 8, "identity"),
    "hinge": (losses.Hinge(), 4, "identity"),
    "categorical_hinge": (losses.CategoricalHinge(), 7, "identity"),
    "cross_entropy": (losses.CrossEntropy(label_smoothing=0.1), 7, "softmax"),
    "cross_entropy of logits": (losses.CrossEntropy(), 7, "identity"),
    "binary_cross_entropy": (losses.BinaryCrossEntropy(label_smoothing=0.1), 4, "sigmoid"),
    "binary_cross_entropy of logits": (losses.BinaryCrossEntropy(), 4, "identity"),
    "binary_focal": (losses.BinaryFocal(1.5, apply_class_balancing=True), 4, "sigmoid"),
    "categorical_focal": (losses.CategoricalFocal(alpha=tuple(np.arange(1.0, 8.0))), 7, "softmax"),
    "kl_divergence": (losses.KLDivergence(), 7, "softmax"),
    "mse of softmax": (losses.MSE(), 4, "softmax"),
    "custom loss": (losses.CustomLoss(quartic, quartic_derivative), 4, "identity"),
}
ACTIVATIONS = (
    "identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "softplus",
)  # fmt: skip
SCHEDULES = {
    "step": schedules.StepDecay(0.1, 2, 0.5),
    "piecewise": schedules.PiecewiseConstant([2, 4], [0.1, 0.05, 0.01]),
    "exponential": schedules.ExponentialDecay(0.1, 3, 0.5),
    "polynomial": schedules.PolynomialDecay(0.1, 6, 0.01, 2.0),
    "cosine": schedules.CosineDecay(0.1, 6),
    "restarts": schedules.CosineDecayRestarts(0.1, 2, 2.0, 0.5),
    "one cycle": schedules.OneCycle(0.1, 6),
    "warm-up": schedules.Warmup(schedules.CosineDecay(0.1, 4), 3),
    "a function": inverse_decay,
}
INITIALIZERS = (
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "random_normal",
    "zeros", "orthogonal",
)  # fmt: skip
BATCHES = {1: 20, 7: 60, 16: 200, 17: 200, 64: N, 600: N}  # batch size: rows


def collect() -> None:
    """Fill TASKS."""
    for dtype in ("float32", "float64"):
        for name, rule in RULES.items():
            TASKS[f"every layer, {name}, {dtype}"] = fitted(every_layer, rule, dtype=dtype, metrics=["accuracy", "auc"])
        for name, update in UPDATES.items():
            rule = optimizers.AdamW(0.01, **({"weight_decay": 0.0} | update))
            averaged = "use_ema" in update
            TASKS[f"update, {name}, {dtype}"] = fitted(every_layer, rule, dtype=dtype, averaged=averaged)
        for name, options in KERNELS.items():
            layers = every_layer(**options)
            TASKS[f"kernel, {name}, {dtype}"] = fitted(layers, optimizers.SGD(0.1, momentum=0.9), dtype=dtype)
        for name, (loss, outputs, last) in LOSSES.items():
            y = TARGETS[loss.targets]
            metrics = ["accuracy"] if loss.targets == "classes" else ["mae", "rmse", "r2"]
            layers = plain(outputs, last)
            rule = optimizers.Adam(1e-3)
            TASKS[f"loss, {name}, {dtype}"] = fitted(layers, rule, loss, X, y, dtype=dtype, metrics=metrics)
        for name in ACTIVATIONS:
            layers = [Dense(130, name), Dropout(0.1), Activation(name), Dense(70, name), Dense(7, "softmax")]
            TASKS[f"activation, {name}, {dtype}"] = fitted(layers, dtype=dtype)
        for name in INITIALIZERS:
            TASKS[f"initial, {name}, {dtype}"] = initial_weights(name, dtype)
        own = fastbp.CustomActivation(square_root, square_root_derivative)
        TASKS[f"activation, custom, {dtype}"] = fitted(plain(CLASSES, "softmax", own), dtype=dtype)
        TASKS[f"embedding, sgd, {dtype}"] = fitted(embedding, optimizers.SGD(0.1), rows=CODES, dtype=dtype)
        TASKS[f"embedding, adamw, {dtype}"] = fitted(
            embedding(embeddings_regularizer="l2"), optimizers.AdamW(0.01), rows=CODES, dtype=dtype
        )
        for name in ("sgd", "momentum", "adam", "lamb", "muon"):
            layers = plain(CLASSES, "softmax")
            TASKS[f"sparse, {name}, {dtype}"] = fitted(layers, RULES[name], rows=SPARSE, dtype=dtype)
        TASKS[f"sparse, clipped, {dtype}"] = fitted(
            plain(CLASSES, "softmax"), optimizers.SGD(0.1, global_clipnorm=0.1), rows=SPARSE, dtype=dtype
        )
        TASKS[f"plain kernels, {dtype}"] = plain_kernels(dtype)
        TASKS[f"streamed, windows, {dtype}"] = fitted(
            every_layer, dtype=dtype, source=lambda: sources.ArraySource(X, LABELS, chunk_rows=90), shuffle_window=200
        )
    for name, schedule in SCHEDULES.items():
        TASKS[f"schedule, {name}"] = fitted(plain(CLASSES, "softmax"), optimizers.SGD(schedule, momentum=0.9))
    for size, rows in BATCHES.items():
        TASKS[f"batches of {size}"] = fitted(every_layer, rows=X[:rows], y=LABELS[:rows], batch_size=size)
    collect_data()
    collect_estimators()


def collect_data() -> None:
    """Other forms of data, options of fit, callbacks."""
    chunks = [(X[i : i + 77], LABELS[i : i + 77], WEIGHT[i : i + 77]) for i in range(0, N, 77)]
    softmax = plain(CLASSES, "softmax")
    TASKS["one output"] = fitted([Dense(33, "relu"), Dense(1)], "adam", "mse", X, NUMBERS[:, 0], metrics=["r2"])
    TASKS["linear"] = fitted([Dense(7)], optimizers.SGD(0.1))
    wide = rng.random((300, 784))
    layers = [Dense(512, "relu"), Dense(512, "relu"), Dense(10, "softmax")]
    TASKS["wide"] = fitted(layers, rows=wide, y=LABELS[:300], batch_size=128, epochs=1)
    TASKS["wide, clipped"] = fitted(
        layers, optimizers.AdamW(1e-3, global_clipnorm=0.1), rows=wide, y=LABELS[:300], batch_size=128, epochs=1
    )
    TASKS["wide, momentum, float64"] = fitted(
        layers, optimizers.SGD(0.1, momentum=0.9), rows=wide, y=LABELS[:300], batch_size=128, epochs=1, dtype="float64"
    )
    TASKS["deep"] = fitted([*[Dense(24, "relu")] * 30, Dense(7, "softmax")])
    TASKS["rows of probabilities"] = fitted(softmax, y=np.eye(CLASSES)[LABELS] * 0.9 + 0.1 / CLASSES)
    TASKS["sample weights"] = fitted(every_layer, sample_weight=WEIGHT, metrics=["accuracy", "top_k_accuracy"])
    TASKS["class weights"] = fitted(every_layer, class_weight=dict(enumerate(np.arange(1.0, 8.0))))
    TASKS["mixup"] = fitted(every_layer, mixup=0.4)
    TASKS["in order"] = fitted(every_layer, shuffle=False)
    TASKS["validation"] = fitted(every_layer, validation_split=0.25, metrics=["accuracy", "auc"])
    TASKS["sparse, every layer"] = fitted(every_layer()[1:], optimizers.AdamW(0.01), rows=SPARSE)
    TASKS["sparse, weights"] = fitted(softmax, optimizers.SGD(0.1), rows=SPARSE, sample_weight=WEIGHT)
    TASKS["streamed, chunks"] = fitted(softmax, source=lambda: chunks, shuffle_window=150)
    TASKS["streamed, one window"] = fitted(softmax, source=lambda: chunks)
    TASKS["streamed, in order"] = fitted(softmax, source=lambda: lambda: iter(chunks), shuffle=False)
    TASKS["plateau and early stopping"] = fitted(
        every_layer, optimizers.Adam(0.1), epochs=8, validation_split=0.25,
        watch=lambda: [
            callbacks.ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.5),
            callbacks.EarlyStopping(patience=4, restore_best_weights=True),
        ],
    )  # fmt: skip
    TASKS["averaged weights"] = fitted(every_layer, epochs=4, watch=lambda: [callbacks.StochasticWeightAveraging(1)])
    TASKS["steps alone"] = single_steps
    TASKS["saved and loaded"] = saved_and_loaded
    TASKS["folded"] = folded
    TASKS["search for a learning rate"] = learning_rates


def collect_estimators() -> None:
    y, several = NUMBERS[:, 0], (PROBABILITIES > 0.5).astype(np.int64)
    classifiers: dict[str, dict[str, Any]] = {
        "adam": {},
        "sgd": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
        "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 0.5,
                     "n_iter_no_change": 1, "max_iter": 6},
        "lbfgs": {"solver": "lbfgs", "max_iter": 5},
        "early stopping": {"early_stopping": True, "max_iter": 5, "n_iter_no_change": 2},
        "dropout and batch norm": {"dropout": 0.2, "batch_norm": True, "activation": ["relu", "silu"]},
        "lion": {"solver": optimizers.Lion(1e-3), "alpha": 0.01},
        "hinge": {"loss": "categorical_hinge"},
        "balanced": {"class_weight": "balanced"},
    }  # fmt: skip
    for name, options in classifiers.items():
        TASKS[f"MLPClassifier, {name}"] = fitted_estimator("MLPClassifier", X, LABELS, **options)
    TASKS["MLPClassifier, partial_fit"] = fitted_estimator("MLPClassifier", X, LABELS, 3)
    TASKS["MLPClassifier, float32"] = fitted_estimator("MLPClassifier", X.astype(np.float32), LABELS, alpha=0.1)
    TASKS["MLPClassifier, two classes"] = fitted_estimator("MLPClassifier", X, LABELS > 3)
    TASKS["MLPClassifier, multilabel"] = fitted_estimator("MLPClassifier", X, several)
    TASKS["MLPClassifier, sparse"] = fitted_estimator("MLPClassifier", SPARSE, LABELS)
    TASKS["MLPRegressor, adam"] = fitted_estimator("MLPRegressor", X, y)
    TASKS["MLPRegressor, lbfgs"] = fitted_estimator("MLPRegressor", X, y, solver="lbfgs", max_iter=5)
    TASKS["MLPRegressor, poisson"] = fitted_estimator("MLPRegressor", X, COUNTS[:, 0], loss="poisson")
    TASKS["MLPRegressor, several targets"] = fitted_estimator("MLPRegressor", X, NUMBERS, activation="tanh")
    TASKS["MLPRegressor, partial_fit"] = fitted_estimator("MLPRegressor", X, y, 3)


# ---------------------------------------------------------------- hashes


def digest(arrays: list[Any]) -> str:
    sha = hashlib.sha256()
    for array in map(np.asarray, arrays):
        if array.dtype == object or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            raise ValueError("a task ends with non-finite numbers, which hide differences: choose a tamer one")
        sha.update(f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def machine() -> str:
    """What two runs must share for their bits to be equal."""
    from fastbp import isa

    return f"# {isa.NAME}, numpy {version('numpy')}, numba {version('numba')}"


def lines(threads: list[int], chosen: str) -> list[str]:
    collect()
    result = []
    for name, task in TASKS.items():
        if chosen in name:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-learn's, about too few iterations
                result += [f"{name}/{n}  {digest(task(n))}" for n in threads]
    return sorted(result)


def compare(old: list[str], new: list[str]) -> int:
    """Print the differences and return the exit code."""
    before, after = (dict(line.rsplit("  ", 1) for line in text if not line.startswith("#")) for text in (old, new))
    if old[0] != new[0]:
        print(f"the file is from another machine: {old[0]} there, {new[0]} here")
    differing = [name for name in after if before.get(name) != after[name]]
    for name in differing:
        print("DIFFERS" if name in before else "NEW", name)
    print(f"{len(after) - len(differing)} of {len(after)} equal, {len(before.keys() - after.keys())} not run")
    return int(bool(differing))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", metavar="TEXT", help="only tasks whose names contain TEXT")
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--compare", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    result = [machine(), *lines(arguments.threads, arguments.only)]
    if arguments.write:
        arguments.write.write_text("\n".join(result) + "\n")
    if arguments.compare:
        return compare(arguments.compare.read_text().splitlines(), result)
    if not arguments.write:
        print(*result, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
