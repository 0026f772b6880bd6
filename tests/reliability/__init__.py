"""Reliability: `promises` names the tests of each promise; ``python -m tests.reliability`` writes the page."""
