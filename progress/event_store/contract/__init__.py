"""JSON Schemas, AsyncAPI, OpenAPI and docs/events.md, generated from the declared events."""
