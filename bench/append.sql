-- The statements of the append benchmark.

-- create copy --
CREATE TABLE public.copied (LIKE event_store.events INCLUDING ALL);

-- create view --
-- The rows appended since the last COPY, in the order of the log.
CREATE VIEW public.not_copied AS
SELECT e.* FROM event_store.events e
WHERE e.global_position > (SELECT coalesce(max(c.global_position), 0) FROM public.copied c)
ORDER BY e.global_position;

-- format --
COPY (SELECT * FROM public.not_copied) TO STDOUT;

-- copy --
COPY public.copied FROM STDIN;
