-- The read model of the peers: how many events of each type a learner has. psycopg passes the parameters.

-- counters --
CREATE TABLE IF NOT EXISTS public.counters (
    user_id    text   NOT NULL,
    event_type text   NOT NULL,
    count      bigint NOT NULL,
    PRIMARY KEY (user_id, event_type)
);

CREATE TABLE IF NOT EXISTS public.positions (
    reader   text PRIMARY KEY,
    position bigint NOT NULL
);

-- count --
INSERT INTO public.counters AS c VALUES (%s, %s, 1)
ON CONFLICT (user_id, event_type) DO UPDATE SET count = c.count + 1

-- counted --
SELECT count FROM public.counters WHERE user_id = %s AND event_type = %s

-- write --
SELECT write_message(%s, %s, %s, %s)

-- stream --
SELECT id, type, position, global_position, metadata, time, data FROM get_stream_messages(%s, 0, -1)

-- page --
SELECT global_position, type, data FROM get_category_messages('learner', %s, 1000)

-- position --
SELECT position FROM public.positions WHERE reader = 'counters'

-- move --
INSERT INTO public.positions VALUES ('counters', %s)
ON CONFLICT (reader) DO UPDATE SET position = excluded.position
