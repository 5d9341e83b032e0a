"""tests/ingest/test_rejected_bodies.py"""
