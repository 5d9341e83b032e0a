-- Add up two JSON objects of counts by outcome, such as {"appended": 3, "pending": 1}.
CREATE OR REPLACE FUNCTION event_store.add_outcomes(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
RETURN (SELECT coalesce(jsonb_object_agg(t.key, t.sum), '{}')
        FROM (SELECT o.key, sum(o.value::int)
              FROM (SELECT * FROM jsonb_each_text(a) UNION ALL SELECT * FROM jsonb_each_text(b)) o
              GROUP BY o.key) t);

REVOKE EXECUTE ON FUNCTION event_store.add_outcomes FROM PUBLIC;
