-- Tables in which each step of a test operation records its runs and its effects.

-- create --
CREATE TABLE public.runs (run bigint GENERATED ALWAYS AS IDENTITY, step text, effect text);
CREATE TABLE public.effects (operation_id text, step text, PRIMARY KEY (operation_id, step));
GRANT SELECT, INSERT, DELETE ON public.runs, public.effects TO progress_project;

-- do --
WITH e AS (INSERT INTO public.effects VALUES (:operation_id, :step) ON CONFLICT DO NOTHING)
INSERT INTO public.runs (step, effect) VALUES (:step, 'do');

-- undo --
WITH e AS (DELETE FROM public.effects WHERE operation_id = :operation_id AND step = :step)
INSERT INTO public.runs (step, effect) VALUES (:step, 'undo');

-- cancel --
UPDATE operations.operations SET cancelled_by = 'ada' WHERE operation_id = CAST(:operation_id AS uuid);

-- expire --
UPDATE operations.operations SET expires_at = clock_timestamp() WHERE operation_id = CAST(:operation_id AS uuid);

-- damage arguments --
UPDATE operations.operations SET arguments = '{"letter_ids": "all"}' WHERE operation_id = CAST(:operation_id AS uuid);

-- remove step --
DELETE FROM operations.steps WHERE operation_id = CAST(:operation_id AS uuid) AND name = :step;

-- grow old --
UPDATE operations.operations SET finished_at = finished_at - make_interval(days => :days)
WHERE operation_id = CAST(:operation_id AS uuid);

-- break workers --
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE application_name = :name AND datname = current_database();

-- count waiting --
SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'transactionid' AND NOT l.granted AND a.datname = current_database();

-- compensations --
SELECT compensations FROM operations.steps WHERE operation_id = CAST(:operation_id AS uuid) AND name = :step;

-- runs --
SELECT step, effect FROM public.runs ORDER BY run;

-- effects --
SELECT step FROM public.effects ORDER BY step;
