"""`progress serve`: the whole system on one machine, without Google and without Redis."""
