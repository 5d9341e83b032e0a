-- The transport of 0.4, which stood for Pub/Sub on one machine, has gone. What waits for ingest is recorded by the next
-- start (progress/serve/former_queue.py), which then drops the schema; wake-ups are not kept.
DO $$
BEGIN
    IF to_regclass('transport.queue') IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM transport.queue q WHERE q.subscription ~ '-events-ingest-sub(-\d+)?$') THEN
            DROP SCHEMA transport CASCADE;
        END IF;
    END IF;
END $$;
