-- What learners post about themselves (progress/query/http/events_endpoint.py).

-- is erased --
SELECT event_store.is_erased(:user_id) AS is_erased;
