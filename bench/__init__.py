"""Benchmarks: each row of the table against its peer or its baseline, measured in the same run."""
