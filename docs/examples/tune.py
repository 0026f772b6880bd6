"""Hyperparameter search with Optuna: learning rate, width and dropout of a network for handwritten digits.

Unpromising trials are pruned after a few epochs: OptunaPruning reports the validation loss after each epoch.
"""

import optuna

import fastbp
from fastbp.datasets import load_named

digits = load_named("digits")
X_train, X_test = digits.x_train / digits.scale, digits.x_test / digits.scale
EPOCHS, TRIALS = 20, 15


def network(params):
    """A compiled network with these hyperparameters."""
    layers = [
        fastbp.Dense(params["units"], "relu", kernel_initializer="he_normal"),
        fastbp.Dropout(params["dropout"]),
        fastbp.Dense(10, "softmax"),
    ]
    model = fastbp.Sequential(layers)
    model.compile(fastbp.Adam(params["learning_rate"]), "cross_entropy", metrics=["accuracy"])
    return model


def objective(trial):
    """The best validation loss, or optuna.TrialPruned if the trial is pruned."""
    params = {
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1.0, log=True),
        "units": trial.suggest_int("units", 16, 256, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6),
    }
    history = network(params).fit(
        X_train, digits.y_train, batch_size=32, epochs=EPOCHS, validation_split=0.25,
        callbacks=[fastbp.OptunaPruning(trial, "val_loss")],
    )  # fmt: skip
    return min(history.history["val_loss"])


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
)
study.optimize(objective, n_trials=TRIALS)
pruned = study.get_trials(states=[optuna.trial.TrialState.PRUNED])
epochs = sum(len(trial.intermediate_values) for trial in study.trials)
print(f"{TRIALS} trials, {len(pruned)} of them pruned: {epochs} epochs instead of {TRIALS * EPOCHS}")
for name, value in study.best_params.items():
    print(f"{name} {value:.3g}")

best = network(study.best_params)  # train again, on the whole training set
best.fit(X_train, digits.y_train, batch_size=32, epochs=EPOCHS)
print(f"test accuracy {best.evaluate(X_test, digits.y_test)['accuracy']:.1%}")
