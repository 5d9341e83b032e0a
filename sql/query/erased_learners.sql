-- Learners who are erased, though their tokens may still be valid.

-- is erased --
SELECT event_store.is_erased(:user_id) AS is_erased;
