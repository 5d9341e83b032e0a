-- What learners post about themselves (progress/query/http/learner_posts.py).

-- is erased --
SELECT event_store.is_erased(:user_id) AS is_erased;
