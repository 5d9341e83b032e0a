-- The one right of the query function's role to record a learner's events: append events, each {"event_id",
-- "event_type", "occurred_at", "data", "metadata"}, to the learner's own stream. An entry that is not like this, or of
-- a type that learners do not post, or that names another learner, raises, and nothing is recorded.
--
-- A post is recorded as every append does it, as posted by the learner. `refused` are the entries that would be dead
-- letters: an array of [place in entries, from 0, reason, the clock that they are ahead of]. `outcomes` has the others.
--
-- A mutation (`is_mutation`) has one entry, without a time: it has that of the append, but follows the latest choice
-- recorded of its kind and item. Of these, the caller has `seen` the latest time up to the stream's `seen_version`. An
-- event of its id is a redelivery with whatever time; PR003 if type or data differ. `global_position` is the event's.
-- See tests/event_store/test_append_own.py.
CREATE OR REPLACE FUNCTION event_store.append_own(
    learner text, entries jsonb, expected_version bigint DEFAULT NULL, is_mutation boolean DEFAULT false,
    seen_version bigint DEFAULT NULL, seen timestamptz DEFAULT NULL,
    OUT outcomes jsonb, OUT refused jsonb, OUT shards smallint[], OUT global_position bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan  -- as in append
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    stream text := 'learner-' || append_own.learner;
    choice event_store.incoming_event;
    stored event_store.events;
    events jsonb;
BEGIN
    IF coalesce(append_own.learner, '') = '' OR is_mutation AND jsonb_array_length(entries) <> 1 OR EXISTS (
        SELECT FROM jsonb_array_elements(entries) AS each (entry)
        WHERE entry - '{event_id,event_type,occurred_at,data,metadata}'::text[] <> '{}'
           OR NOT event_store.may_post(entry ->> 'event_type')
           OR jsonb_typeof(entry -> 'data') IS DISTINCT FROM 'object'
           OR jsonb_typeof(entry -> 'metadata') IS DISTINCT FROM 'object'
           OR coalesce(entry #>> '{data,user_id}', append_own.learner) <> append_own.learner
           OR coalesce(entry #>> '{metadata,user_id}', append_own.learner) <> append_own.learner
           OR entry -> 'metadata' ? 'posted_by'
           OR is_mutation AND (entry ? 'occurred_at' OR entry ->> 'event_type' NOT IN
               ('GoalSet', 'RestDayTaken', 'ItemSetAside', 'ItemResumed', 'EventRetracted'))
    ) THEN
        RAISE EXCEPTION 'expected entries that this learner may post' USING ERRCODE = 'insufficient_privilege';
    END IF;

    outcomes := '{}';
    shards := '{}';
    -- Each statement from here on sees all earlier appends.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));

    IF is_mutation THEN
        choice := jsonb_populate_record(NULL::event_store.incoming_event, entries -> 0);
        SELECT * INTO stored FROM event_store.events s WHERE s.event_id = choice.event_id;
        IF FOUND THEN
            IF (stored.stream_id, stored.event_type, stored.event_data) <> (stream, choice.event_type, choice.data) THEN
                RAISE EXCEPTION 'expected the content that is recorded' USING ERRCODE = 'PR003';
            END IF;
            outcomes := '{"redelivered": 1}';
            refused := '[]';
            shards := ARRAY[stored.shard];
            global_position := stored.global_position;
            RETURN;
        END IF;
        choice.occurred_at := clock_timestamp();
        seen := greatest(seen, (
            SELECT max(s.occurred_at) FROM event_store.events s
            WHERE s.stream_id = stream AND s.stream_version > seen_version
              AND CASE choice.event_type WHEN 'GoalSet' THEN s.event_type = 'GoalSet'
                  ELSE s.event_type IN ('ItemSetAside', 'ItemResumed')
                      AND s.event_data ->> 'item_id' = choice.data ->> 'item_id' END));
        IF seen >= choice.occurred_at THEN
            choice.occurred_at := seen + interval '1 microsecond';
        ELSE
            choice.metadata := choice.metadata || '{"occurred_at_source": "publish_time"}';
        END IF;
        entries := jsonb_set(entries, '{0}', entries -> 0 || jsonb_build_object(
            'occurred_at', choice.occurred_at, 'metadata', choice.metadata));
    END IF;

    WITH entry AS MATERIALIZED (
        SELECT e.*, n - 1 AS n, CASE WHEN e.event_type = 'SessionStarted' THEN e.data ->> 'session_id' END AS session
        FROM jsonb_array_elements(entries) WITH ORDINALITY AS each (entry, n)
        CROSS JOIN jsonb_populate_record(NULL::event_store.incoming_event, entry) AS e
    ), decided AS MATERIALIZED (
        SELECT e.*, CASE
            WHEN EXISTS (SELECT FROM event_store.events s WHERE s.event_id = e.event_id OFFSET 0) THEN NULL
            WHEN e.occurred_at > clock_timestamp() + interval '10 minutes' THEN 'future'
            WHEN EXISTS (SELECT FROM event_store.sessions s
                         WHERE s.session_id = e.session AND s.user_id <> append_own.learner OFFSET 0)
                THEN 'session_owner' END AS outcome
        FROM entry e
    )
    SELECT jsonb_agg(jsonb_build_object('index', n, 'event_id', event_id, 'event_type', event_type,
                'occurred_at', occurred_at, 'data', data, 'session_id', session, 'learner', append_own.learner,
                'metadata', metadata || CASE WHEN is_mutation THEN '{}' ELSE '{"posted_by": "learner"}' END::jsonb)
            ORDER BY n) FILTER (WHERE outcome IS NULL),
        coalesce(jsonb_agg(jsonb_build_array(n, event_store.reason_of(outcome),
            CASE outcome WHEN 'future' THEN clock_timestamp() END) ORDER BY n) FILTER (WHERE outcome IS NOT NULL), '[]')
    INTO events, refused FROM decided;
    IF events IS NULL THEN
        RETURN;
    END IF;
    SELECT a.outcomes, a.shards INTO append_own.outcomes, append_own.shards
    FROM event_store.append(jsonb_build_object('events', events) || CASE WHEN expected_version IS NULL THEN '{}'
        ELSE jsonb_build_object('stream_id', stream, 'expected_version', expected_version) END) AS a;
    IF is_mutation THEN
        SELECT s.global_position INTO append_own.global_position
        FROM event_store.events s WHERE s.event_id = choice.event_id;
    END IF;
END $$;

-- Return whether learners post events of this type (LEARNERS_POST in events.py).
CREATE OR REPLACE FUNCTION event_store.may_post(event_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN coalesce(event_type IN ('SessionStarted', 'CorrectAnswerGiven', 'IncorrectAnswerGiven', 'SessionCompleted',
    'SessionAbandoned', 'CardReviewed', 'ReviewProcessed', 'ItemSetAside', 'ItemResumed', 'UserPreferencesChanged',
    'GoalSet', 'RestDayTaken', 'EventRetracted', 'ListPublished', 'ListArchived', 'ItemListed', 'ItemUnlisted'), false);
