"""The comparison of Progress with other event stores: `python -m bench.compare`."""
