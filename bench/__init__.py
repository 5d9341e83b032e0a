"""The speed that is promised, measured: each row against its peer or baseline, in one run."""
