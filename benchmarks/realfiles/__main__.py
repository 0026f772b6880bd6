"""`fastbp train` on the real CSV files that packages of PyPI carry: ``python -m benchmarks.realfiles``.

It must neither fail with a traceback nor refuse a file without saying what to do, lose no column of numbers, and say
so where its model is no better than a constant. Packages are found below --folder, or where they are installed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.measure import ROOT
from benchmarks.realfiles import packages, page
from benchmarks.realfiles.packages import RealFile
from benchmarks.realfiles.plain_reading import counts_of
from benchmarks.realfiles.worker import Worker
from benchmarks.tables import replace_generated

PAGE = ROOT / "docs" / "columns.md"
FILES, SECONDS, MOST_BYTES = 350, 60.0, 5_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Train on the files, print the tables and write the page; exit code 1 if a promise is broken."""
    args = make_parser().parse_args(argv)
    places = packages.found(args.folder)
    missing = [name for name in packages.PACKAGES if name not in places]
    if missing:
        print(f"not found: {', '.join(missing)}; {packages.command(missing, args.folder)}", file=sys.stderr)
    if not places:
        return 2
    with tempfile.TemporaryDirectory() as work:
        files = packages.unpack(places, Path(work), args.files, MOST_BYTES)
        tried = list(try_all(files, args))
    print(page.summary(tried), page.messages(tried), *page.broken(tried), sep="\n\n")
    if not missing and args.files == FILES and args.epochs is None and not args.dry_run:
        replace_generated(PAGE, "benchmarks.realfiles", page.page_text(tried), title="Tables")
    return 1 if page.broken(tried) else 0


def try_all(files: Sequence[RealFile], args: argparse.Namespace) -> Iterator[page.Tried]:
    """Every file with each of its targets; broken promises are printed at once."""
    questions = [(file, target) for file in files for target in targets_of(file.path)]
    with Worker() as worker, tqdm(questions, unit="training", disable=None) as bar:
        for file, target in bar:
            bar.set_postfix_str(f"{file.package}/{file.path.name}")
            found = page.Tried(file, target, worker.ask(file.path, target, args.epochs, args.seconds))
            for line in page.broken([found]):
                bar.write(line, file=sys.stderr)
            yield found


def targets_of(path: Path) -> list[str]:
    """The last column, where most files have what is to be predicted, and the first that does not number the rows."""
    counts = counts_of(path)
    names = [name for place, (name, count) in enumerate(counts.items()) if name and not (place == 0 and count.counting)]
    return list(dict.fromkeys([names[-1], names[0]])) if names else list(counts)[:1]


def make_parser() -> argparse.ArgumentParser:
    """The command line options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.realfiles", description=__doc__)
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where pip has installed the packages with --target")
    parser.add_argument("--files", type=int, default=FILES, metavar="N", help=f"at most (default: {FILES})")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help=f"time limit of a training (default: {SECONDS:g})"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="default: those of fastbp train")
    parser.add_argument("--dry-run", action="store_true", help="print the tables, leave the page alone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
