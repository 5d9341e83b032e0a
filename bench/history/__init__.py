"""Histories of operations: a checker, and faults that it must find."""
