"""From a GraphQL request to its result."""
