-- The read model of the peer's projection.

-- counters --
CREATE TABLE IF NOT EXISTS public.counters (
    counter text PRIMARY KEY,
    count   bigint NOT NULL
);

-- count --
INSERT INTO public.counters AS c VALUES (%s, 1)
ON CONFLICT (counter) DO UPDATE SET count = c.count + 1;
