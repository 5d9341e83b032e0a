"""Answers kept: where and how long, by which versions they still count, computed once for all."""
