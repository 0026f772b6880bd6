"""The command line: ``fastbp train | predict | export | bench | warmup | autotune | info``.

Exit codes: 0 success; 2 invalid options, files or data, with a line on stderr; 130 after Ctrl-C (`train` saves its
model first). Without a command it lists them and exits with 2.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TextIO

from fastbp.cli.options import Parser
from fastbp.util.console import replacing, say

TRAIN_EXAMPLES = """examples:
  fastbp train digits
  fastbp train mnist --layers 512,512 --epochs 10
  fastbp train flowers.csv --target species --output flowers.safetensors
  fastbp train people.csv.gz --target income --categorical zip_code
  fastbp train measurements.npz --task regression --optimizer adamw --weight-decay 0.01"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Ctrl-C outside training exits quietly with 130."""
    parser = make_parser()
    args = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        with replacing(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = run(args)
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:  # the reader of the output has exited, as in `fastbp predict … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, MemoryError, ImportError) as error:
        say(f"fastbp {args.command}: {_message(error)}")
        return 2


def make_parser() -> argparse.ArgumentParser:
    """The argument parser with its commands."""
    from fastbp import __version__

    parser = Parser(prog="fastbp", description="Train multilayer perceptrons on the CPU.")
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_predict(commands)
    _add_export(commands)
    _add_bench(commands)
    _add_warmup(commands)
    _add_autotune(commands)
    info = commands.add_parser("info", help="instruction set, threads, cache folder, measured peak")
    info.set_defaults(run=_run_info)
    return parser


def _add_train(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "train",
        help="train a network and save it",
        usage="fastbp train DATA [OPTION ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=TRAIN_EXAMPLES,
    )
    from fastbp.cli.job import ACTIVATIONS, OPTIMIZERS, SCHEDULES
    from fastbp.cli.network import CLASS_LOSSES, REGRESSION_LOSSES
    from fastbp.model.precision import NAMES
    from fastbp.preprocessing.options import SCALINGS
    from fastbp.preprocessing.targets import TASKS

    parser.add_argument(
        "data", metavar="DATA", help="digits, mnist, fashion-mnist, or a .npz, .csv, .tsv, .parquet or .xlsx file"
    )
    parser.add_argument("--target", metavar="COLUMN", help="the column of a table to predict")
    parser.add_argument(
        "--drop-missing-target", action=argparse.BooleanOptionalAction, default=True,
        help="leave out rows without a target instead of refusing them (default: yes)",
    )  # fmt: skip
    _add_dialect(parser)
    parser.add_argument("--task", choices=TASKS, help="default: inferred from the target")
    parser.add_argument(
        "--layers", type=_widths, metavar="N,N", help="widths of the hidden layers, as 256,128; '' for none"
    )
    parser.add_argument(
        "--activation", choices=ACTIVATIONS, default="relu", help="of the hidden layers (default: relu)"
    )
    parser.add_argument(
        "--loss", choices=[*CLASS_LOSSES, *REGRESSION_LOSSES], help="default: by dataset; mse for regression"
    )
    parser.add_argument(
        "--label-smoothing", type=float, metavar="S", help="targets 1 - S + S/classes and S/classes"
    )
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="default: adam")
    parser.add_argument(
        "--learning-rate", type=_rate, metavar="RATE", help="or auto, to search it (default: by dataset and optimizer)"
    )
    parser.add_argument("--weight-decay", type=float, default=0.0, metavar="DECAY", help="default: 0")
    parser.add_argument("--schedule", choices=SCHEDULES, help="learning rate schedule (default: by dataset)")
    parser.add_argument("--dropout", type=float, default=0.0, metavar="RATE", help="after hidden layers (default: 0)")
    parser.add_argument("--batch-norm", action="store_true", help="batch normalization before hidden activations")
    parser.add_argument(
        "--categorical", type=_names, default=(), metavar="NAME,NAME", help="numeric columns that are categories"
    )
    parser.add_argument(
        "--missing", type=_names, default=(), metavar="TEXT,TEXT", help="further texts for missing values, as nil,."
    )
    parser.add_argument(
        "--scaling", choices=SCALINGS, default="standard", help="of numeric columns (default: standard)"
    )
    parser.add_argument(
        "--clip", action=argparse.BooleanOptionalAction, help="smoothly, to 3 deviations (default: with categories)"
    )
    parser.add_argument(
        "--drop", action="append", default=[], metavar="COLUMN", help="leave out a column; may be repeated"
    )
    parser.add_argument("--batch-size", type=_positive, metavar="N", help="rows per step (default: by dataset)")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="passes over the data (default: by dataset)")
    parser.add_argument(
        "--validation-split", type=float, metavar="F", help="share of the training rows to validate on, not trained on"
    )
    parser.add_argument(
        "--early-stopping", action="store_true", help="end when the validation loss no longer falls, with the best "
        "weights; validates on a tenth of the training rows if --validation-split does not say otherwise",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=_positive, default=10, metavar="N", help="epochs that --early-stopping waits (default: 10)"
    )
    parser.add_argument(
        "--seed", type=_natural, default=0, metavar="N", help="seed of split, weights and shuffling (default: 0)"
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: depends on network and machine")
    parser.add_argument(
        "--compute", choices=NAMES, default="float32", help="how products are computed (default: float32)"
    )
    parser.add_argument(
        "--output", "-o", metavar="FILE", help="where to save the model (default: DATA's name.safetensors)"
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress bar")
    parser.add_argument(
        "--plot", metavar="FILE", help="plot the learning curves, including the test set, and the confusion matrix "
        "or the predictions of the test set: .png, .pdf or .svg",
    )  # fmt: skip
    parser.set_defaults(run=_run_train)


def _add_predict(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("predict", help="predict with a saved model")
    parser.add_argument("model", metavar="MODEL", help="a file written by fastbp train or Sequential.save")
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a .npz (X), .csv, .tsv, .parquet or .xlsx file, or the name of a dataset (its test rows)",
    )
    parser.add_argument(
        "--output", "-o", metavar="FILE", help="write .csv, .tsv, .parquet, .npy or .npz instead of printing"
    )
    parser.add_argument("--proba", action="store_true", help="also the probability of each class, a column for each")
    _add_dialect(parser)
    parser.set_defaults(run=_run_predict)


def _add_dialect(parser: argparse.ArgumentParser) -> None:
    """The options that say how a text file is written."""
    parser.add_argument(
        "--separator", metavar="CHAR", help="between the values of a text file, as ';' or tab (default: found)"
    )
    parser.add_argument("--decimal", choices=(".", ","), default=".", help="decimal mark of a text file (default: .)")
    parser.add_argument("--encoding", metavar="NAME", help="of a text file, as latin-1 (default: utf-8)")


def _add_export(commands: argparse._SubParsersAction[Parser]) -> None:
    from fastbp.cli.export import EXAMPLES, FORMATS

    parser = commands.add_parser(
        "export",
        help="write a saved model in the format of another tool",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL", help="a file written by fastbp train or Sequential.save")
    parser.add_argument("--to", required=True, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument(
        "--output", "-o", metavar="FILE", help="where to write it (default: MODEL's name with the format's extension)"
    )
    parser.set_defaults(run=_run_export)


def _add_bench(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("bench", help="time the NumPy reference against fastbp on this machine")
    parser.add_argument(
        "--rounds", type=_positive, default=5, metavar="N", help="paired measurements per row (default: 5)"
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: depends on network and machine")
    parser.add_argument("--quick", action="store_true", help="small networks only, shorter measurements")
    parser.add_argument("--plot", metavar="FILE", help="plot the ratios: .png, .pdf or .svg")
    parser.set_defaults(run=_run_bench)


def _add_warmup(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("warmup", help="compile everything now, so that no training waits for it")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), help="only for networks of this type (default: both)"
    )
    parser.set_defaults(run=_run_warmup)


def _add_autotune(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("autotune", help="measure which sizes of work suit this machine, and keep them")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="at most (default: 20)")
    parser.add_argument("--forget", action="store_true", help="go back to the sizes that follow from the caches")
    parser.set_defaults(run=_run_autotune)


def _run_autotune(args: argparse.Namespace) -> int:
    from fastbp.cli.machine import autotune

    return autotune(args.seconds, args.forget)


def _run_info(args: argparse.Namespace) -> int:
    from fastbp.cli.machine import show_info

    return show_info()


def _run_train(args: argparse.Namespace) -> int:
    from fastbp.cli.job import TrainJob
    from fastbp.cli.train import train

    options = {name: value for name, value in vars(args).items() if name not in ("command", "run")}
    return train(TrainJob(**options))


def _run_predict(args: argparse.Namespace) -> int:
    from fastbp.cli.predict import predict

    dialect = {name: getattr(args, name) for name in ("separator", "decimal", "encoding")}
    return predict(args.model, args.data, args.output, dialect, proba=args.proba)


def _run_export(args: argparse.Namespace) -> int:
    from fastbp.cli.export import export

    return export(args.model, args.to, args.output)


def _run_bench(args: argparse.Namespace) -> int:
    from fastbp.cli.bench import report
    from fastbp.plots import plot_speed
    from fastbp.plots.figures import check_picture

    if args.plot is not None:
        check_picture(args.plot)
    results = report(rounds=args.rounds, n_threads=args.threads, quick=args.quick)
    if args.plot is not None:
        times = {result.row.title: {"NumPy": result.numpy_s, "fastbp": result.fastbp_s} for result in results}
        plot_speed(times, args.plot, title="fastbp vs. NumPy, one step")
        print(f"plot {args.plot}")
    return 0


def _run_warmup(args: argparse.Namespace) -> int:
    from fastbp.cli.machine import warmup

    return warmup((args.dtype,) if args.dtype else ("float32", "float64"))


def _rate(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number or auto, got {text!r}") from None


def _widths(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(",")) if text.strip() else ()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _positive(text: str) -> int:
    return _integer(text, 1)


def _natural(text: str) -> int:
    return _integer(text, 0)


def _integer(text: str, lowest: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = lowest - 1
    if number < lowest:
        raise argparse.ArgumentTypeError(f"must be an integer of at least {lowest}, got {text!r}")
    return number


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    say(f"warning: {message}")


def _message(error: BaseException) -> str:
    return str(error) or type(error).__name__

