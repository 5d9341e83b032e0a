"""The query API: GraphQL over HTTP, over the read models."""
