-- The state of an item's memory by FSRS-6, which item_stats stores, and the recall that follows from it.
--
-- A state is two integers: `stability` is 10^7 · ln S, where S is the number of days after which the recall is 0.9;
-- `difficulty` is 10^7 · D, where D is from 1 to 10. Each answer rounds both, and the next answer continues from the
-- integers. So the states are equal on every machine, although the last bits of powers differ between machines.
--
-- PostgreSQL and DuckDB run the same formulas. In them, `{w8}` is the parameter w[8] of FSRS-6, `g` is 3 for a correct
-- answer and 1 for a wrong one, `t` is the number of days since the answer before, and `s` and `d` are S and D.

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
CASE g WHEN 3 THEN {w2} ELSE {w0} END

-- first_difficulty --
{w4} - exp({w5} * (g - 1)) + 1

-- next_stability --
CASE
    WHEN t = 0 THEN s * greatest(exp({w17} * (g - 3 + {w18})) * power(s, -{w19}), CASE g WHEN 3 THEN 1 ELSE 0 END)
    WHEN g = 1 THEN least(
        {w11} * power(d, -{w12}) * (power(s + 1, {w13}) - 1) * exp((1 - {read_models/memory recall_at}) * {w14}),
        s / exp({w17} * {w18}))
    ELSE s * (1 + exp({w8}) * (11 - d) * power(s, -{w9})
        * (exp((1 - {read_models/memory recall_at}) * {w10}) - 1))
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
SELECT *, memory[1] AS stability, memory[2] AS difficulty, lag(memory[1]) OVER earlier AS stability_before,
    lead(gap) OVER earlier IS NULL AS is_latest
FROM (
    SELECT *, memory_after(correct, gap) OVER earlier AS memory, max(day) OVER earlier AS newest_day
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
    SELECT *, CASE WHEN correct THEN 3 ELSE 1 END AS g,
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
s.correct_answers > 0 AND {read_models/memory estimated_recall} < 0.7

-- item_fields --
-- The result columns from a row s, which may be missing, on the date `moment.day`.
floor(1000 * {read_models/memory estimated_recall} + 0.5) / 1000 AS estimated_recall,
CAST(round(CAST({read_models/memory days} AS numeric), 2 - CAST(floor(log({read_models/memory days})) AS integer))
    AS double precision)                           AS stability_days,
CAST(round(s.difficulty / CAST(10000000 AS numeric), 2) AS double precision) AS difficulty,
s.last_answered_on                                 AS answered_on

-- days --
exp(s.stability / {read_models/memory unit})

-- functions --
-- Return the state {stability, difficulty} after an answer, `gap` days after the answer before. `memory` is the state
-- before the answer; it is null before the first answer.
CREATE FUNCTION next_memory(memory bigint[], correct boolean, gap int) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $memory$
DECLARE
    g int := CASE WHEN correct THEN 3 ELSE 1 END;
    t double precision := gap;
    s double precision;
    d double precision;
BEGIN
    IF memory IS NULL THEN
        s := {read_models/memory first_stability};
        d := {read_models/memory first_difficulty};
    ELSE
        d := memory[2] / {read_models/memory unit};
        s := exp(memory[1] / {read_models/memory unit});
        s := {read_models/memory next_stability};
        d := {read_models/memory next_difficulty};
    END IF;
    RETURN ARRAY[{read_models/memory rounded}];
END
$memory$;

-- The state after all answers so far, in order.
CREATE AGGREGATE memory_after(correct boolean, gap int) (SFUNC = next_memory, STYPE = bigint[]);

-- Return the state after more answers, given in order. `memory` and `last_on` are the state and the day of the answer
-- before; both are null if there is none.
CREATE FUNCTION continue_memory(memory bigint[], last_on date, days date[], corrects boolean[]) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $memory$
BEGIN
    FOR n IN 1 .. coalesce(cardinality(days), 0) LOOP
        memory := next_memory(memory, corrects[n], greatest(days[n] - last_on, 0));
        last_on := days[n];
    END LOOP;
    RETURN memory;
END
$memory$;
