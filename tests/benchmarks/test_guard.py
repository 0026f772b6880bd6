"""Paired measurements of two commits: what counts as slower, and where the code comes from."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks import guard
from benchmarks.measure import Plan
from benchmarks.rows import ROWS

ROW = ROWS[0]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit and an uncommitted change."""
    folder = tmp_path / "repository"
    folder.mkdir()
    name = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    (folder / "file.py").write_text("committed", encoding="utf-8")
    for command in (["init", "-q"], ["add", "."], [*name, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    (folder / "file.py").write_text("changed", encoding="utf-8")
    monkeypatch.setattr(guard, "ROOT", folder)
    return folder


def test_commit_is_checked_out_but_working_tree_used_in_place(repository, tmp_path):
    old, new = guard.check_out("HEAD", tmp_path / "old"), guard.working_tree(tmp_path / "new")
    assert (old.folder / "file.py").read_text(encoding="utf-8") == "committed"
    assert (new.folder / "file.py").read_text(encoding="utf-8") == "changed"
    assert old.cache != new.cache
    assert old.cache.stat().st_mode & 0o077 == 0  # compiled code is kept in private folders only


def test_unknown_commit_is_an_error(repository, tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        guard.check_out("no-such-commit", tmp_path / "old")


@pytest.mark.parametrize(
    ("ratios", "expected", "measurements"),
    [
        ([1.04], True, 1),
        ([0.5], True, 1),
        ([1.06, 1.06], False, 2),
        ([1.06, 1.04], True, 2),  # a slow spell
    ],
)
def test_row_is_slower_only_if_measured_twice(monkeypatch, capsys, ratios, expected, measurements):
    rounds = []

    def pairs(row, old, new, plan):
        rounds.append(plan.rounds)
        return [(1.0, ratios[len(rounds) - 1])] * plan.rounds

    monkeypatch.setattr(guard, "pairs", pairs)
    tree = guard.Tree("x", guard.ROOT, guard.ROOT)
    assert guard.within(ROW, tree, tree, Plan(rounds=3), 1.05) is expected
    assert rounds == [3, 6][:measurements]
    assert f"ratio {ratios[0]:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize(("ratio", "status"), [(1.0, 0), (1.2, 1)])
def test_exit_code_says_whether_a_row_is_slower(repository, monkeypatch, capsys, ratio, status):
    monkeypatch.setattr(guard, "pairs", lambda row, old, new, plan: [(1.0, ratio)])
    assert guard.main(["HEAD", "--rows", "1"]) == status
    assert (ROW.title in capsys.readouterr().out.splitlines()[-1]) == bool(status)


@pytest.mark.jit
def test_working_tree_is_measured_against_itself(tmp_path):
    new = guard.working_tree(tmp_path / "new")
    found = guard.pairs(ROW, new, new, Plan(rounds=2, seconds=0.01, threads=1))
    assert len(found) == 2
    assert all(seconds > 0 for pair in found for seconds in pair)
