"""The event contract: JSON Schemas, documents of AsyncAPI and OpenAPI, and docs/events.md.

All of them are generated from the declarations in `progress.event_store.events`.
"""
