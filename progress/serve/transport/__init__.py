"""The transport that stands for Pub/Sub on one machine: publish over the loopback, push over HTTP.

Messages are in a table until they are delivered. A push that fails is repeated; after its last
attempt, the message stays in the table, and `progress undelivered retry` delivers it again.
"""
