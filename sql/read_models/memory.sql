-- The state of an item's memory by FSRS-6, which item_stats stores, and the recall that follows from it.
--
-- A state is two integers: `stability` is 10^7 · ln S, where S is the number of days after which the recall is 0.9;
-- `difficulty` is 10^7 · D, where D is from 1 to 10. Each answer rounds both, and the next answer continues from the
-- integers. So the states are equal on every machine, although the last bits of powers differ between machines.
--
-- PostgreSQL and DuckDB run the same formulas. In them, `{w8}` is the parameter w[8] of FSRS-6, `g` is the grade of an
-- answer (1 again, 2 hard, 3 good, 4 easy), `t` is the number of days since the answer before, `s` and `d` are S and D.

-- decay --
0.1542

-- parameters --
0.212, 1.2931, 2.3065, 8.2956, 6.4133, 0.8334, 3.0194, 0.001, 1.8722, 0.1666, 0.796, 1.4835, 0.0614, 0.2629, 1.6483,
0.6014, 1.8729, 0.5425, 0.0912, 0.0658, {read_models/memory decay}

-- recall_at --
power(1 + {read_models/memory factor} * t / s, -CAST({read_models/memory decay} AS double precision))

-- factor --
(power(CAST(0.9 AS double precision), -1 / CAST({read_models/memory decay} AS double precision)) - 1)

-- first_stability --
CASE g WHEN 3 THEN {w2} WHEN 1 THEN {w0} WHEN 2 THEN {w1} ELSE {w3} END

-- first_difficulty --
{w4} - exp({w5} * (g - 1)) + 1

-- next_stability --
CASE
    WHEN t = 0 THEN s * greatest(exp({w17} * (g - 3 + {w18})) * power(s, -{w19}), CASE WHEN g >= 2 THEN 1 ELSE 0 END)
    WHEN g = 1 THEN least(
        {w11} * power(d, -{w12}) * (power(s + 1, {w13}) - 1) * exp((1 - {read_models/memory recall_at}) * {w14}),
        s / exp({w17} * {w18}))
    ELSE s * (1 + exp({w8}) * (11 - d) * power(s, -{w9})
        * (exp((1 - {read_models/memory recall_at}) * {w10}) - 1)
        * CASE g WHEN 3 THEN 1 WHEN 2 THEN {w15} ELSE {w16} END)
END

-- next_difficulty --
{w7} * ({w4} - exp({w5} * 3) + 1 - {read_models/memory damped}) + {read_models/memory damped}

-- damped --
(d + (10 - d) * (-{w6} * (g - 3)) / 9)

-- rounded --
CAST(floor(10000000 * ln(least(greatest(s, 0.001), 36500)) + 0.5) AS bigint),
CAST(floor(10000000 * least(greatest(d, 1), 10) + 0.5) AS bigint)

-- unit --
CAST(10000000 AS double precision)

-- estimated_recall --
-- The recall of the item in the row s on the date `moment.day`; null without an answer. It never rises without study:
-- on the day of a wrong answer, it is the recall of the next day.
CASE WHEN s.last_correct AND moment.day <= s.last_answered_on THEN 1
     ELSE power(
         1 + {read_models/memory factor} * greatest(moment.day - s.last_answered_on, 1)
             / {read_models/memory days},
         -CAST({read_models/memory decay} AS double precision)) END

-- postgresql states --
-- Each answer with the state after it, and with the stability before it: null for the first answer. {keys} are the
-- columns that tell an item. `gap` is the number of days since the answer before, and `newest_day` the newest of all
-- days so far. An answer with a gap of a day or more is a test.
SELECT *, grade >= 2 AS correct, memory[1] AS stability, memory[2] AS difficulty,
    lag(memory[1]) OVER earlier AS stability_before,
    lead(gap) OVER earlier IS NULL AS is_latest
FROM (
    SELECT *, memory_after(grade, gap) OVER earlier AS memory, max(day) OVER earlier AS newest_day
    FROM (
        SELECT *, greatest(day - lag(day) OVER earlier, 0) AS gap
        FROM {answers}
        WINDOW earlier AS (PARTITION BY {keys} ORDER BY occurred_at, event_id)
    ) a
    WINDOW earlier AS (PARTITION BY {keys} ORDER BY occurred_at, event_id ROWS UNBOUNDED PRECEDING)
) m
WINDOW earlier AS (PARTITION BY {keys} ORDER BY occurred_at, event_id)

-- duckdb states --
-- Each step of the recursion computes the next answer of every item.
WITH RECURSIVE chain AS MATERIALIZED (
    SELECT *, grade AS g, grade >= 2 AS correct,
        CAST(greatest(day - lag(day) OVER earlier, 0) AS integer) AS gap,
        max(day) OVER earlier AS newest_day,
        lag(day) OVER earlier IS NULL AS is_first, lead(day) OVER earlier IS NULL AS is_latest,
        row_number() OVER (ORDER BY {keys}, occurred_at, event_id) AS place
    FROM {answers}
    WINDOW earlier AS (PARTITION BY {keys} ORDER BY occurred_at, event_id ROWS UNBOUNDED PRECEDING)
), states (place, stability_before, stability, difficulty) AS (
    SELECT place, CAST(NULL AS bigint), {read_models/memory rounded}
    FROM (
        SELECT place, {read_models/memory first_stability} AS s, {read_models/memory first_difficulty} AS d
        FROM chain
        WHERE is_first
    )
    UNION ALL
    SELECT place, stability_before, {read_models/memory rounded}
    FROM (
        SELECT place, stability_before,
            {read_models/memory next_stability} AS s, {read_models/memory next_difficulty} AS d
        FROM (
            SELECT c.place, c.g, c.gap AS t, m.stability AS stability_before,
                exp(m.stability / {read_models/memory unit}) AS s, m.difficulty / {read_models/memory unit} AS d
            FROM states m
            JOIN chain c ON c.place = m.place + 1
            WHERE NOT c.is_first
        )
    )
)
SELECT *
FROM chain
JOIN states USING (place)

-- has_faded --
-- True if the item in the row s was answered correctly before, and is fading on the date `moment.day`.
s.correct_answers > 0 AND {read_models/memory estimated_recall} < {read_models/memory fading_below}

-- fading_below --
0.7

-- item_fields --
-- The result columns from a row s, which may be missing, on the date `moment.day`.
{read_models/memory rounded_recall} AS estimated_recall,
CAST(round(CAST({read_models/memory days} AS numeric), 2 - CAST(floor(log({read_models/memory days})) AS integer))
    AS double precision)                           AS stability_days,
CAST(round(s.difficulty / CAST(10000000 AS numeric), 2) AS double precision) AS difficulty,
s.last_answered_on                                 AS answered_on

-- rounded_recall --
floor(1000 * {read_models/memory estimated_recall} + 0.5) / 1000

-- days --
exp(s.stability / {read_models/memory unit})

-- functions --
-- Return the state {stability, difficulty} after an answer of grade `g`, `gap` days after the answer before. `memory`
-- is the state before the answer; it is null before the first answer.
CREATE FUNCTION next_memory(memory bigint[], g int, gap int) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $memory$
DECLARE
    t double precision := gap;
    s double precision;
    d double precision;
BEGIN
    {read_models/memory step}
    RETURN memory;
END
$memory$;

-- The state after all answers so far, in order.
CREATE AGGREGATE memory_after(g int, gap int) (SFUNC = next_memory, STYPE = bigint[]);

-- Return the state after more answers, given in order. `memory` and `last_on` are the state and the day of the answer
-- before; both are null if there is none. A call of next_memory for each answer would take longer than the answer.
CREATE FUNCTION continue_memory(memory bigint[], last_on date, days date[], grades int[]) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $memory$
DECLARE
    g int;
    t double precision;
    s double precision;
    d double precision;
BEGIN
    FOR n IN 1 .. coalesce(cardinality(days), 0) LOOP
        g := grades[n];
        t := greatest(days[n] - last_on, 0);
        {read_models/memory step}
        last_on := days[n];
    END LOOP;
    RETURN memory;
END
$memory$;

-- step --
IF memory IS NULL THEN
    s := {read_models/memory first_stability};
    d := {read_models/memory first_difficulty};
ELSE
    d := memory[2] / {read_models/memory unit};
    s := exp(memory[1] / {read_models/memory unit});
    s := {read_models/memory next_stability};
    d := {read_models/memory next_difficulty};
END IF;
memory := ARRAY[{read_models/memory rounded}];

-- knowledge --
-- What a learner still knows on the date :on, which is today if null, of the items in the language :language, which are
-- all items if null: one row for each level with answered items, and one row without a level for all of these items.
WITH today AS (
    {read_models/preferences today}
),
moment AS (
    SELECT coalesce(CAST(:on AS date), day) AS day FROM today
),
estimated AS (
    SELECT s.level, s.recall,
        s.correct_answers > 0 AND s.recall < {read_models/memory fading_below}
            AND s.in_play AS is_fading
    FROM (
        SELECT coalesce(i.level, 'UNKNOWN') AS level, s.correct_answers,
            i.in_catalogue IS NOT FALSE AND aside.item_id IS NULL AS in_play,
            {read_models/memory estimated_recall} AS recall
        FROM item_stats s
        CROSS JOIN moment
        {read_models/items of_row}
        {read_models/set_aside_items of_item}
        WHERE s.user_id = :user_id AND s.stability IS NOT NULL
          AND CASE WHEN CAST(:language AS text) IS NULL
                   THEN TRUE ELSE {read_models/items primary_language} = :language END
        OFFSET 0   -- compute each estimate once
    ) s
)
SELECT (SELECT day FROM today) AS today, (SELECT day FROM moment) AS on, e.level, count(*) AS items,
    floor(10 * coalesce(sum(e.recall), 0) + 0.5) / 10 AS expected, count(*) FILTER (WHERE e.is_fading) AS fading
FROM estimated e
GROUP BY GROUPING SETS ((e.level), ())
ORDER BY e.level COLLATE "C" NULLS FIRST;

-- distribution --
-- How many of the learner's items have an interval in each range of days, and how many of those that were answered have
-- a recall in each tenth, today.
WITH moment AS (
    {read_models/preferences today}
),
counted AS (
    SELECT i.measure, i.step, count(*) AS items
    FROM item_stats s
    CROSS JOIN moment
    CROSS JOIN LATERAL (
        SELECT 'INTERVAL_DAYS' AS measure, width_bucket(s.interval_days, ARRAY[0, 2, 4, 7, 14, 21, 60, 180]) AS step
        WHERE s.interval_days IS NOT NULL
        UNION ALL
        SELECT 'RECALL', least(CAST(floor(1000 * {read_models/memory estimated_recall} + 0.5) AS integer) / 100, 9) + 1
        WHERE s.stability IS NOT NULL
    ) i
    WHERE s.user_id = :user_id
    GROUP BY i.measure, i.step
)
SELECT r.measure, r.at_least, r.below, coalesce(c.items, 0) AS items
FROM (
    SELECT 'INTERVAL_DAYS' AS measure, step, CAST(at_least AS double precision) AS at_least,
        CAST(lead(at_least) OVER (ORDER BY step) AS double precision) AS below
    FROM unnest(ARRAY[0, 2, 4, 7, 14, 21, 60, 180]) WITH ORDINALITY AS days (at_least, step)
    UNION ALL
    SELECT 'RECALL', step, CAST((step - 1) / 10.0 AS double precision),
        CASE WHEN step < 10 THEN CAST(step / 10.0 AS double precision) END
    FROM generate_series(1, 10) AS step
) r
LEFT JOIN counted c ON c.measure = r.measure AND c.step = r.step
ORDER BY r.measure, r.step;

-- forgetting --
-- The estimates of one item: on the days with answers, 1, 2, 4 … 512 days after them, and :days days after today.
--
-- On a day with answers, the estimates are those before its first answer and after its last. On another day, they
-- follow from the answers of the days before. Usually, these are the answers up to the last of the latest such day, and
-- the state is stored with it. But a change of the zone may put an answer on an earlier day than the answer before;
-- then `skipping` computes the state.
WITH today AS (
    {read_models/preferences today}
),
given AS (
    SELECT row_number() OVER in_order AS place, day, grade, correct, stability, stability_before,
        lag(day) OVER in_order AS day_before, lag(correct) OVER in_order AS correct_before,
        max(day) OVER in_order AS latest_day
    FROM remembered_answers
    WHERE user_id = :user_id AND item_id = :item_id
    WINDOW in_order AS (ORDER BY occurred_at, event_id)
),
days AS (
    SELECT day, min(place) AS first_place, max(place) AS last_place, lead(day) OVER (ORDER BY day) AS next_day,
        sum(count(*)) OVER (ORDER BY day) AS answers
    FROM given
    GROUP BY day
),
remembered AS (
    SELECT d.day, d.next_day, b.stability_before, b.day_before, b.correct_before,
        a.stability, a.correct,
        quiet.stability AS quiet_stability, quiet.day AS quiet_day, quiet.correct AS quiet_correct
    FROM days d
    JOIN given b ON b.place = d.first_place
    JOIN given a ON a.place = d.last_place
    CROSS JOIN LATERAL (
        SELECT a.stability, a.day, a.correct
        WHERE a.latest_day = d.day AND d.answers = d.last_place
        UNION ALL
        {read_models/memory skipping}
        WHERE NOT (a.latest_day = d.day AND d.answers = d.last_place)
    ) quiet
),
later AS (
    SELECT r.day + n.days AS day, r.quiet_stability, r.quiet_day, r.quiet_correct
    FROM remembered r
    CROSS JOIN today
    CROSS JOIN (SELECT CAST(power(2, n) AS integer) AS days FROM generate_series(0, 9) AS n) n
    WHERE r.day >= today.day - 730 AND r.day + n.days < coalesce(r.next_day, 'infinity')
    UNION
    SELECT today.day + CAST(:days AS integer), r.quiet_stability, r.quiet_day, r.quiet_correct
    FROM today
    JOIN remembered r ON today.day + CAST(:days AS integer) > r.day
        AND today.day + CAST(:days AS integer) < coalesce(r.next_day, 'infinity')
)
SELECT p.day AS date, {read_models/memory before} AS before, {read_models/memory after} AS after
FROM (
    SELECT r.day, r.stability_before, r.day_before, r.correct_before, r.stability, r.day AS answered_on, r.correct
    FROM remembered r
    CROSS JOIN today
    WHERE r.day >= today.day - 730
    UNION ALL
    SELECT l.day, l.quiet_stability, l.quiet_day, l.quiet_correct, l.quiet_stability, l.quiet_day, l.quiet_correct
    FROM later l
) p
CROSS JOIN today
WHERE p.day <= today.day + CAST(:days AS integer)
ORDER BY p.day;

-- skipping --
-- The state after the answers on days up to d.day.
SELECT m.memory[1], m.day, m.correct
        FROM (
            SELECT memory_after(g.grade, g.gap ORDER BY g.place) AS memory,
                (array_agg(g.day ORDER BY g.place DESC))[1] AS day,
                (array_agg(g.correct ORDER BY g.place DESC))[1] AS correct
            FROM (
                SELECT place, day, grade, correct, greatest(day - lag(day) OVER (ORDER BY place), 0) AS gap
                FROM given
                WHERE given.day <= d.day
            ) g
        ) m

-- before --
(SELECT {read_models/memory rounded_recall}
    FROM (SELECT p.stability_before AS stability, p.day_before AS last_answered_on, p.correct_before AS last_correct) s,
        (SELECT p.day) moment)

-- after --
(SELECT {read_models/memory rounded_recall}
    FROM (SELECT p.stability, p.answered_on AS last_answered_on, p.correct AS last_correct) s,
        (SELECT p.day) moment)

-- of members --
-- The memory s of each item that a member m has answered, on the member's local day. OFFSET 0 reads the rows by member.
CROSS JOIN LATERAL (SELECT m.today AS day) moment
CROSS JOIN LATERAL (
    SELECT i.item_id, i.correct_answers, i.stability, i.last_answered_on, i.last_correct
    FROM item_stats i
    WHERE i.user_id = m.user_id AND i.stability IS NOT NULL
    OFFSET 0
) s

-- sum --
floor(10 * coalesce(sum({read_models/memory estimated_recall}), 0) + 0.5) / 10

-- knowledge of group --
-- What the members of a group still know, each on the own local day.
WITH {read_models/group_members members}
SELECT count(*) AS items, {read_models/memory sum} AS expected
FROM members m
{read_models/memory of members};

-- fading in group --
-- The items that are fading for at least 3 members, most such members first.
WITH {read_models/group_members members},
aside AS (
    SELECT a.user_id, a.item_id
    FROM set_aside_items a
    WHERE a.user_id IN (SELECT user_id FROM members) AND a.is_set_aside
),
faded AS (
    SELECT s.item_id, count(*) AS answered,
        count(*) FILTER (WHERE {read_models/memory has_faded} AND a.item_id IS NULL) AS learners
    FROM members m
    {read_models/memory of members}
    LEFT JOIN aside a ON a.user_id = m.user_id AND a.item_id = s.item_id
    GROUP BY s.item_id
)
SELECT s.item_id, nullif(i.headword, '') AS headword, coalesce(i.level, 'UNKNOWN') AS level, s.learners, s.answered
FROM (SELECT * FROM faded WHERE learners >= 3 OFFSET 0) AS s
{read_models/items of_row}
WHERE i.in_catalogue IS NOT FALSE
ORDER BY s.learners DESC, s.item_id
LIMIT CAST(:first AS bigint);
