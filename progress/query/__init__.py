"""The query API: the read models as GraphQL over HTTP."""
