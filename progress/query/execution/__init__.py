"""The execution of a GraphQL request, from its text to its result."""
