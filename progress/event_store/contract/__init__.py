"""The event contract for publishers: JSON Schemas, an AsyncAPI document and docs/events.md.

All of them are generated from the declarations in `progress.event_store.events`.
"""
