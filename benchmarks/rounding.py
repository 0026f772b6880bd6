"""What rounding costs in accuracy: ``python -m benchmarks.rounding`` writes the last table of docs/bfloat16.md.

Every dataset is trained with `fastbp train`'s recipe by five seeds, which choose split, weights and shuffling, once for
each way to compute products. Data beside the bundled digits and Fashion-MNIST lie in the folder FASTBP_DATA.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT
from benchmarks.tables import machine, markdown_table, replace_generated
from fastbp import datasets
from fastbp.cli.job import CATEGORIES_RECIPE, TrainJob
from fastbp.cli.network import TrainingData, build, hold_out, learn, soft_targets
from fastbp.spec import COMPUTE

PAGE = ROOT / "docs" / "bfloat16.md"
FOLDER = Path(os.environ.get("FASTBP_DATA", "."))
JOBS = {
    "digits": TrainJob("digits"),
    "mnist": TrainJob("mnist"),
    "fashion-mnist": TrainJob("fashion-mnist"),
    "adult": TrainJob(str(FOLDER / "adult_train.csv.gz"), target="income", base=CATEGORIES_RECIPE),
    "california": TrainJob(str(FOLDER / "california_housing.npz"), base=TrainJob("").recipe._replace(batch_size=256)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Train all, print, and write the page after a run of everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rounding", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--data", nargs="*", choices=JOBS, metavar="NAME", help=f"default: {' '.join(JOBS)}")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="default: 5")
    args = parser.parse_args(argv)
    lines = []
    for name in args.data or JOBS:
        scores = {compute: [score(JOBS[name], compute, seed) for seed in range(args.seeds)] for compute in COMPUTE}
        lines.append(line_of(name, scores))
        print("  ".join(lines[-1]), flush=True)
    if not args.data and args.seeds == 5:
        replace_generated(PAGE, "benchmarks.rounding", page(lines, args.seeds), title="bfloat16")
    return 0


def score(job: TrainJob, compute: str, seed: int) -> float:
    """Accuracy, or R², of the test rows after training."""
    job = TrainJob(**{**vars(job), "seed": seed, "compute": compute})
    if "/" in job.data:
        table = datasets.read_file(job.data, **{**job.reading, "progress": False})
        assert isinstance(table, datasets.Table)
        data = hold_out(table, job)
    else:
        data = TrainingData.of(datasets.load_named(job.data, seed=seed))
    preprocessor = learn(data, job)
    X, targets = preprocessor.transform(data.train), preprocessor.transform_target(data.y_train)
    model = build(job, X.shape[1], soft_targets(targets, preprocessor, job.recipe), preprocessor)
    y = soft_targets(targets, preprocessor, job.recipe)
    model.fit(X, y, batch_size=job.recipe.batch_size, epochs=job.recipe.epochs, verbose=0)
    outputs, known = model.predict(preprocessor.transform(data.test)), preprocessor.transform_target(data.y_test)
    if preprocessor.classes:
        return float(np.mean(outputs.argmax(axis=1) == known))
    return float(1 - ((outputs - known) ** 2).sum() / ((known - known.mean(axis=0)) ** 2).sum())


def line_of(name: str, scores: dict[str, list[float]]) -> list[str]:
    """Mean and standard deviation of each way, and how far bfloat16's mean lies from float32's, in deviations."""
    means = {compute: statistics.mean(values) for compute, values in scores.items()}
    deviation = statistics.stdev(scores["float32"])
    cells = [f"{means[compute]:.4f} ± {statistics.stdev(scores[compute]):.4f}" for compute in COMPUTE]
    return [name, *cells, f"{(means['bfloat16'] - means['float32']) / deviation:+.2f}"]


def page(lines: list[list[str]], seeds: int) -> str:
    """The table, and where it was made."""
    here = machine()
    header = ["data", *COMPUTE, "bfloat16 - float32, in deviations"]
    return f"""Accuracy on the test rows, for california R²: mean and standard deviation over {seeds} seeds, by
`python -m benchmarks.rounding` on {date.today().isoformat()}, {here["processor"]}.

{markdown_table(header, lines)}
"""


if __name__ == "__main__":
    raise SystemExit(main())
