"""The query API over HTTP."""
