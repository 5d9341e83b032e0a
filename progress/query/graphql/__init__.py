"""The GraphQL schema, its types and its resolvers."""
