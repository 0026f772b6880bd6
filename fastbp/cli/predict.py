"""Implementation of `fastbp predict`: predictions for raw rows, with a score if the target is present."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastbp
from fastbp import datasets
from fastbp.cli.job import NAMED, SEED_KEY, TARGET_KEY
from fastbp.cli.output_path import check_output
from fastbp.cli.predictions import check_ending, check_probabilities, probabilities, write_predictions
from fastbp.cli.scoring import score_known
from fastbp.datasets import Split
from fastbp.preprocessing.column_rules import Category
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.tables.columns import Columns
from fastbp.tables.table import table_of
from fastbp.util.console import say
from fastbp.util.types import Array


def predict(
    model_path: str, data: str, output: str | None, dialect: Mapping[str, Any] | None = None, *, proba: bool = False
) -> int:
    """Run `fastbp predict`: one prediction per row, printed or written to ``output`` by its ending.

    proba: also the probability of each class; .npy gets these alone.
    """
    if output is None and sys.stdout is None:
        raise ValueError("there is no standard output to print predictions to: name a file with --output")
    if output is not None:
        check_output(Path(output), [model_path, data])
        check_ending(output)
    model = fastbp.load(model_path)
    preprocessor = Preprocessor.of(model)
    if proba:
        check_probabilities(model, preprocessor)
    X, y = _rows_to_predict(data, model, preprocessor, dialect or {})
    outputs = model.predict(_numbers(X, data) if preprocessor is None else preprocessor.transform(X))
    predictions = outputs if preprocessor is None else preprocessor.inverse_target(outputs)
    if proba:
        assert preprocessor is not None
        write_predictions(predictions, output, probabilities(outputs), preprocessor.classes or ())
    else:
        write_predictions(predictions, output)
    if y is not None and preprocessor is not None:
        say(score_known(preprocessor, outputs, y))
    return 0


def _rows_to_predict(
    data: str, model: fastbp.Sequential, preprocessor: Preprocessor | None, dialect: Mapping[str, Any]
) -> tuple[Columns, Array | None]:
    if data in NAMED:
        split = datasets.load_named(data, seed=int(model.metadata.get(SEED_KEY, "0")))
        return table_of(split.x_test, split.columns), split.y_test
    columns = () if preprocessor is None else preprocessor.columns
    rules = () if preprocessor is None else preprocessor.rules
    texts = [str(rule.name) for rule in rules if isinstance(rule, Category)]
    target = model.metadata.get(TARGET_KEY)
    table = datasets.read_file(data, target=target, columns=columns, texts=texts, progress=True, **dialect)
    if isinstance(table, Split):
        return table_of(table.x_test, table.columns), table.y_test
    return table.features, table.y


def _numbers(table: Columns, data: str) -> Array:
    if table.matrix is None:
        raise ValueError(f"the model has no Preprocessor, so {data} must contain only numbers: encode strings first")
    return table.matrix
