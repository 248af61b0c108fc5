"""Measurements beside the least that the same parts can do: ``python -m benchmarks.http``, ``… benchmarks.start``."""
