"""Importers: convert records of other apps to domain events."""
