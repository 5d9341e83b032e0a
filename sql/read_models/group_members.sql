-- One row per group and learner. The latest LearnerJoinedGroup or LearnerLeftGroup event decides whether the learner is
-- a member.
-- Also held by: operations/test_erasure.py.

-- table --
CREATE TABLE group_members (
    group_id   text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    decided_at timestamptz NOT NULL,       -- time of the latest event about the membership
    decided_id uuid        NOT NULL,       -- id of this event
    is_member  boolean     NOT NULL,       -- whether the learner is a member now
    PRIMARY KEY (group_id, user_id)
) WITH (fillfactor = 80);

CREATE INDEX group_members_by_learner ON group_members (user_id, is_member, decided_at, decided_id);

-- Under this name, the present members are read inside a statement about the past, too.
CREATE VIEW present_members AS
SELECT group_id, user_id FROM group_members WHERE is_member;

-- window --
-- The rows that the window changes.
CREATE TEMPORARY TABLE window_members (
    group_id varchar(200) COLLATE "C", user_id varchar(200) COLLATE "C", decided_at timestamptz, decided_id uuid,
    is_member boolean
) ON COMMIT DELETE ROWS;

-- The groups in which the items of these learners count: a row for before the window, and a row for after the window.
CREATE TEMPORARY TABLE window_counted (
    group_id varchar(200) COLLATE "C", user_id varchar(200) COLLATE "C", is_after boolean
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_members;
DELETE FROM window_counted;

-- counted_now --
-- The groups in which the items of the learners in window_members count now.
(
        SELECT m.group_id, u.user_id
        FROM (SELECT DISTINCT user_id FROM window_members) u
        CROSS JOIN LATERAL (
            {read_models/group_items counted_groups}
        ) m
    ) c

-- joined --
-- The groups in which the learners' items count after the window only.
(SELECT group_id, user_id FROM window_counted GROUP BY group_id, user_id HAVING bool_and(is_after))

-- fold --
IF window_kinds && ARRAY['join', 'leave'] THEN
    INSERT INTO window_members
    SELECT n.group_id, n.user_id, n.occurred_at, n.event_id, n.kind = 'join'
    FROM (
        SELECT DISTINCT ON (group_id, user_id) group_id, user_id, occurred_at, event_id, kind
        FROM window_facts
        WHERE kind IN ('join', 'leave')
        ORDER BY group_id, user_id, occurred_at DESC, event_id DESC
    ) n
    LEFT JOIN LATERAL (
        SELECT * FROM group_members m WHERE m.group_id = n.group_id AND m.user_id = n.user_id OFFSET 0
    ) old ON true
    WHERE old.user_id IS NULL OR (n.occurred_at, n.event_id) > (old.decided_at, old.decided_id);

    INSERT INTO window_counted
    SELECT group_id, user_id, false FROM {read_models/group_members counted_now};

    INSERT INTO group_members
    SELECT group_id, user_id, decided_at, decided_id, is_member
    FROM window_members
    ORDER BY group_id, user_id
    ON CONFLICT (group_id, user_id) DO UPDATE SET
        decided_at = excluded.decided_at,
        decided_id = excluded.decided_id,
        is_member  = excluded.is_member;

    INSERT INTO window_counted
    SELECT group_id, user_id, true FROM {read_models/group_members counted_now};

    -- In group_items, add the learners' items where they count now, and subtract them where they no longer count.
    IF has_past THEN
        WITH changes AS (
            SELECT j.group_id, s.item_id, 1 AS learners, s.answers, s.correct_answers, s.response_ms,
                s.timed_answers, s.lapses
            FROM {read_models/group_members joined} j
            CROSS JOIN LATERAL (SELECT * FROM item_stats i WHERE i.user_id = j.user_id OFFSET 0) s
            WHERE s.answers > 0
        )
        {read_models/group_items add};
    ELSE   -- in a rebuild: item_stats has no key yet, but window_items has all items of these learners
        WITH changes AS (
            SELECT j.group_id, s.item_id, 1 AS learners, s.answers, s.correct_answers, s.response_ms,
                s.timed_answers, s.lapses
            FROM {read_models/group_members joined} j
            JOIN window_items s ON s.user_id = j.user_id
            WHERE s.answers > 0
        )
        {read_models/group_items add};
    END IF;
    WITH leaving AS (
        SELECT group_id, user_id FROM window_counted GROUP BY group_id, user_id HAVING NOT bool_or(is_after)
    )
    {read_models/group_items subtract};
END IF;

-- definition --
SELECT group_id, user_id, occurred_at AS decided_at, event_id AS decided_id, kind = 'join' AS is_member
FROM (
    SELECT e.*, row_number() OVER (PARTITION BY group_id, user_id ORDER BY occurred_at DESC, event_id DESC) AS place
    FROM facts e
    WHERE e.kind IN ('join', 'leave') AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = e.user_id)
) m
WHERE place = 1

-- delete_learners --
DELETE FROM group_members WHERE user_id = ANY (learners);

-- is_member --
-- Whether the learner is a member of one of the groups. OFFSET 0 makes the planner look up each group. Otherwise, it
-- could read all groups of the learner.
SELECT EXISTS (
    SELECT FROM unnest(CAST(:groups AS text[])) AS g (group_id)
    CROSS JOIN LATERAL (
        SELECT FROM group_members m
        WHERE m.group_id = g.group_id AND m.user_id = :user_id AND m.is_member
        OFFSET 0
    ) AS membership
) AS is_member;

-- name --
-- A group with its name; no row if it has no member.
SELECT g.group_id, (SELECT group_name FROM ({read_models/group_names latest}) AS latest) AS name
FROM (SELECT CAST(:group_id AS text) AS group_id) AS g
WHERE EXISTS (SELECT FROM group_members m WHERE m.group_id = g.group_id AND m.is_member);

-- sizes --
-- The members of the groups :groups, or of all if it is null, and the group's share of a large one, with 10,000 members
-- or 100,000 items and answers: a tenth at least. At most 10,001 members are read. With :of_tasks, also how many rows
-- its tasks read, in thousands: 8 for each item of a member that they compare, at most those of the lists.
SELECT m.group_id, count(*) AS members,
       greatest(0.1, least(1, count(*) / 1e4 + coalesce(sum(p.size), 0) / 1e5)) AS share,
       coalesce(sum(least(p.items_learned, t.items)) * 8 / 1e3, 0) AS task_rows
FROM (
    SELECT group_id, user_id FROM group_members
    WHERE is_member AND (CAST(:groups AS text[]) IS NULL OR group_id = ANY (CAST(:groups AS text[])))
    LIMIT 10001
) m
LEFT JOIN LATERAL (
    SELECT u.answers + u.learning + u.short_term + u.long_term AS size, u.items_learned
    FROM user_progress u WHERE u.user_id = m.user_id
    OFFSET 0
) p ON TRUE
LEFT JOIN (
    SELECT a.group_id, sum(n.items) AS items
    FROM list_assignments a
    CROSS JOIN LATERAL (
        SELECT count(*) AS items
        FROM (SELECT FROM listed_items l WHERE l.list_id = a.list_id AND l.is_listed LIMIT 2000) AS l
    ) AS n
    WHERE CAST(:of_tasks AS boolean) AND a.is_assigned AND a.group_id = ANY (CAST(:groups AS text[]))
    GROUP BY a.group_id
) t ON t.group_id = m.group_id
GROUP BY m.group_id;

-- teachers --
-- Who, in the role of a teacher, read the record of a present member in the last 30 days: traces have the hour, which
-- begins up to an hour earlier.
SELECT DISTINCT a.read_by
FROM group_members m
CROSS JOIN LATERAL (
    SELECT a.read_by
    FROM event_store.accesses a
    WHERE a.user_id = m.user_id AND a.hour > CAST(:now AS timestamptz) - INTERVAL '721 hours' AND a.role = 'teacher'
    OFFSET 0
) a
WHERE m.group_id = :group_id AND m.is_member
ORDER BY a.read_by;

-- members --
-- The members of the groups :groups, with their local day (`today`) and the sums of their last 7 local days. Usually,
-- the sums and the zone come from the member's row in member_weeks. If the member's newest day in this row is later
-- than today, the sums come from daily_stats. If the zone in the row is not in force yet, the zone comes from
-- zones_in_force. A member without a row in member_weeks has no rows in daily_stats, so the value of `today` does not
-- change the result. OFFSET 0 makes the planner look up each member's row: other joins would read the rows of all
-- learners.
dated AS (
    SELECT m.group_id, m.user_id AS member_id, w.*,
        CAST(CAST(:now AS timestamptz) + coalesce(
            r.utc_offset - coalesce(z.day_start_hour, w.day_start_hour) * INTERVAL '1 hour',
            INTERVAL '0 hours') AS date) AS today
    FROM group_members m
    LEFT JOIN LATERAL (SELECT * FROM member_weeks k WHERE k.user_id = m.user_id OFFSET 0) w ON TRUE
    LEFT JOIN LATERAL (
        SELECT f.timezone, CAST(extract(epoch FROM f.day_start) / 3600 AS bigint) AS day_start_hour
        FROM zones_in_force f
        WHERE w.zone_since > :now AND f.user_id = m.user_id AND f.starts_at <= :now AND f.ends_at > :now
        OFFSET 0
    ) z ON TRUE
    LEFT JOIN zone_rules r
        ON r.zone = coalesce(z.timezone, w.timezone) AND r.starts_at <= :now AND r.ends_at > :now
    WHERE m.group_id = ANY (CAST(:groups AS text[])) AND m.is_member
    OFFSET 0
),
members AS (
    SELECT group_id, member_id AS user_id, today, last_study_date, run_days,
        CASE WHEN t.last_study_date > t.today
            THEN EXISTS (
                SELECT FROM daily_stats d
                WHERE d.user_id = t.user_id AND d.day BETWEEN t.today - 6 AND t.today
                  AND {read_models/daily_stats is_study_day})
            ELSE coalesce(t.last_study_date > t.today - 7, FALSE) END AS is_active,
        coalesce(CASE WHEN t.last_day > t.today
            THEN (
                SELECT CAST(sum(d.answers) AS bigint) FROM daily_stats d
                WHERE d.user_id = t.user_id AND d.day BETWEEN t.today - 6 AND t.today)
            ELSE CASE t.today - t.last_day
                WHEN 0 THEN t.answers_7 WHEN 1 THEN t.answers_6 WHEN 2 THEN t.answers_5 WHEN 3 THEN t.answers_4
                WHEN 4 THEN t.answers_3 WHEN 5 THEN t.answers_2 WHEN 6 THEN t.answers_1 END
            END, 0) AS answers,
        coalesce(CASE WHEN t.last_day > t.today
            THEN (
                SELECT CAST(sum(d.correct_answers) AS bigint) FROM daily_stats d
                WHERE d.user_id = t.user_id AND d.day BETWEEN t.today - 6 AND t.today)
            ELSE CASE t.today - t.last_day
                WHEN 0 THEN t.correct_7 WHEN 1 THEN t.correct_6 WHEN 2 THEN t.correct_5 WHEN 3 THEN t.correct_4
                WHEN 4 THEN t.correct_3 WHEN 5 THEN t.correct_2 WHEN 6 THEN t.correct_1 END
            END, 0) AS correct_answers
    FROM dated t
    OFFSET 0
),
-- Whether a member never had a study day, had none in the last 7 local days, or answers too much wrong.
risks AS (
    SELECT m.*, m.last_study_date IS NULL AS never_studied, coalesce(m.last_study_date < m.today - 6, FALSE) AS is_away,
        m.answers >= 20 AND m.correct_answers * 5 < m.answers * 3 AS is_weak
    FROM members m
    OFFSET 0
)

-- current_streak --
-- The current streak of a member m. Rest days matter only if the member's last study day is before yesterday. A week
-- has at most two rest days, so at most four are consecutive: the last two of a week and the first two of the next.
CASE
    WHEN m.last_study_date >= m.today - 1 THEN m.run_days
    WHEN m.last_study_date >= m.today - 5 AND m.last_study_date >= m.today - 1 - (
        SELECT CAST(count(*) AS integer) FROM rest_days r
        WHERE r.user_id = m.user_id AND r.day > m.last_study_date AND r.day < m.today)
        THEN m.run_days
    ELSE 0
END

-- study_days --
-- The study days among the last 7 local days of a member m.
SELECT count(*) FROM daily_stats d
WHERE d.user_id = m.user_id AND d.day BETWEEN m.today - 6 AND m.today AND {read_models/daily_stats is_study_day}

-- standings --
-- The standings of the groups :groups; no row for a group without a member.
WITH {read_models/group_members members}
SELECT g.*, (SELECT group_name FROM ({read_models/group_names latest}) AS latest) AS name
FROM (
    SELECT group_id, count(*) AS members, count(*) FILTER (WHERE is_active) AS active_last7_days,
        CAST(sum(answers) AS bigint) AS answers_last7_days,
        CAST(CAST(sum(correct_answers) AS bigint) AS double precision) / nullif(CAST(sum(answers) AS bigint), 0)
            AS accuracy_last7_days,
        count(*) FILTER (WHERE never_studied OR is_away OR is_weak) AS at_risk,
        count(*) FILTER (WHERE never_studied) AS never_studied, count(*) FILTER (WHERE is_away) AS inactive,
        count(*) FILTER (WHERE is_weak) AS low_accuracy
    FROM risks
    GROUP BY group_id
) AS g;

-- learners --
-- One page of the members. The page begins after the given key. Every order sorts by ascending lists of numbers: dates
-- become numbers of days since 2000-01-01.
WITH {read_models/group_members members},
standings AS (
    SELECT m.*,
        CAST(m.correct_answers AS double precision) / nullif(m.answers, 0) AS accuracy_last7_days,
        never_studied OR is_away OR is_weak AS at_risk,
        CASE WHEN NOT never_studied THEN greatest(m.today - m.last_study_date, 0) END AS days_away
    FROM risks m
),
ranked AS (
    SELECT *, CAST(CASE CAST(:order_by AS text)
            WHEN 'STREAK' THEN ARRAY[- ({read_models/group_members current_streak})]
            WHEN 'ACCURACY' THEN ARRAY[coalesce(accuracy_last7_days, 2)]   -- nulls last
            WHEN 'URGENCY' THEN CASE
                WHEN days_away IS NULL THEN ARRAY[2, 0]
                WHEN at_risk THEN ARRAY[0, days_away]
                ELSE ARRAY[1, - days_away] END || CAST(m.correct_answers - m.answers AS integer)
            WHEN 'PRAISE' THEN ARRAY[- ({read_models/group_members study_days}), coalesce(- accuracy_last7_days, 1),
                - m.answers]
            WHEN 'INACTIVE' THEN ARRAY[coalesce(last_study_date - DATE '2000-01-01', -1000)]   -- nulls first
            ELSE ARRAY[CASE WHEN at_risk THEN 0 ELSE 1 END, coalesce(last_study_date - DATE '2000-01-01', -1000)]
        END AS double precision[]) AS sort_key
    FROM standings m
    OFFSET 0
),
page AS (
    SELECT *
    FROM ranked
    WHERE CAST(:after_user_id AS text) IS NULL
       OR (sort_key, user_id) > (CAST(:after_rank AS double precision[]), CAST(:after_user_id AS text))
    ORDER BY sort_key, user_id
    LIMIT CAST(:first AS bigint)
)
SELECT total.members AS total_count, m.sort_key, m.user_id,
    (SELECT n.display_name FROM display_names n WHERE n.user_id = m.user_id) AS display_name, m.last_study_date,
    ({read_models/group_members current_streak}) AS current_streak, m.answers AS answers_last7_days,
    m.accuracy_last7_days,
    coalesce((SELECT p.items_learned FROM user_progress p WHERE p.user_id = m.user_id), 0) AS total_items_learned,
    m.at_risk,
    array_remove(ARRAY[
        CASE WHEN m.never_studied THEN 'NEVER_STUDIED' END, CASE WHEN m.is_away THEN 'INACTIVE' END,
        CASE WHEN m.is_weak THEN 'LOW_ACCURACY' END], NULL) AS risk_reasons,
    CASE WHEN CAST(:estimates AS boolean) THEN (
        SELECT {read_models/memory sum}
        FROM (SELECT m.today AS day) moment
        JOIN item_stats s ON s.user_id = m.user_id AND s.stability IS NOT NULL) ELSE 0 END AS expected_known,
    CASE WHEN CAST(:last_answers AS boolean) THEN (
        SELECT max(s.last_answered_at) FROM item_stats s WHERE s.user_id = m.user_id) END AS last_answered_at,
    CASE WHEN CAST(:weeks AS boolean) THEN ({read_models/weekly_stats weeks of member}) ELSE '[]' END AS weeks
FROM (
    SELECT count(*) AS members
    FROM group_members
    WHERE group_id = ANY (CAST(:groups AS text[])) AND is_member
) AS total
LEFT JOIN page m ON TRUE
ORDER BY m.sort_key, m.user_id;

-- since --
-- For each of :users, in their order: what the learner did from the local day in :first_days, or in the last :days
-- local days, to today, and `today`. A day ahead of today counts nothing. At most 366 days back; the caller rejects
-- earlier days.
SELECT a.today, s.answers, CAST(s.correct_answers AS double precision) / nullif(s.answers, 0) AS accuracy_rate,
    s.study_days, g.days_with_goal, g.days_met
FROM (
    SELECT u.user_id, u.place, local.today, coalesce(u.first_day, local.today - u.days + 1) AS day
    FROM unnest(CAST(:users AS text[]), CAST(:first_days AS date[]), CAST(:days AS integer[]))
        WITH ORDINALITY AS u (user_id, first_day, days, place)
    LEFT JOIN LATERAL (
        SELECT shift FROM segments WHERE user_id = u.user_id AND starts_at <= :now AND ends_at > :now OFFSET 0
    ) z ON TRUE
    CROSS JOIN LATERAL (
        SELECT CAST(CAST(:now AS timestamptz) + coalesce(z.shift, INTERVAL '0 hours') AS date) AS today
    ) local
) a
CROSS JOIN LATERAL (
    SELECT CAST(coalesce(sum(d.answers), 0) AS bigint) AS answers,
        CAST(sum(d.correct_answers) AS bigint) AS correct_answers,
        count(*) FILTER (WHERE {read_models/daily_stats is_study_day}) AS study_days
    FROM daily_stats d
    WHERE d.user_id = a.user_id AND d.day BETWEEN greatest(a.day, a.today - 366) AND a.today
) s
CROSS JOIN LATERAL (
    SELECT coalesce(sum(least(f.next_day - 1, a.today) - greatest(f.first_day, a.day, a.today - 366) + 1), 0)
            AS days_with_goal,
        CAST(coalesce(sum((
            SELECT count(*) FROM daily_stats d
            WHERE d.user_id = a.user_id AND d.answers >= f.answers_per_day
              AND d.day BETWEEN greatest(f.first_day, a.day, a.today - 366) AND least(f.next_day - 1, a.today))), 0)
            AS bigint) AS days_met
    FROM ({read_models/goals in_force} WHERE user_id = a.user_id) f
    WHERE f.answers_per_day > 0
      AND least(f.next_day - 1, a.today) >= greatest(f.first_day, a.day, a.today - 366)
) g
ORDER BY a.place;

-- export groups --
-- The groups that the learner ever joined or left. `joined` is the time of the latest join, which precedes `left`. It
-- is null if the log has no join. `left` is null for a current member.
COPY (
    SELECT regexp_replace(m.group_id, current_setting('export.marked'), '''\&') AS "group", j.joined,
        CASE WHEN NOT m.is_member THEN m.decided_at END AS "left"
    FROM group_members m
    LEFT JOIN (
        SELECT f.group_id, max(f.occurred_at) AS joined
        FROM (SELECT CAST(current_setting('export.position') AS bigint) AS position) e
        JOIN facts f ON f.global_position <= e.position AND f.kind = 'join'
            AND f.stream_id = 'learner-' || current_setting('export.learner')
        WHERE NOT EXISTS (
            SELECT FROM retractions r
            WHERE r.stream_id = f.stream_id AND r.retracted_id = f.event_id AND r.global_position <= e.position)
        GROUP BY f.group_id
    ) j ON j.group_id = m.group_id
    WHERE m.user_id = current_setting('export.learner')
    ORDER BY m.group_id
) TO STDOUT (FORMAT csv, HEADER);

-- with_members --
-- The groups with a member. `g` steps from each group to the next one.
g (group_id) AS (
    SELECT min(group_id) FROM group_members
    UNION ALL
    SELECT (SELECT min(m.group_id) FROM group_members m WHERE m.group_id > g.group_id)
    FROM g
    WHERE g.group_id IS NOT NULL
), with_members AS (
    SELECT g.group_id
    FROM g
    WHERE EXISTS (SELECT FROM group_members m WHERE m.group_id = g.group_id AND m.is_member)
), sought AS MATERIALIZED (
    SELECT event_store.fold_case(CAST(:text AS text)) AS text
)

-- list --
-- One page of the groups with a member and, unless :text is null, with the text in the id or the name, in any case: by
-- name, those without a name last, then by id. The page begins after the given key.
WITH RECURSIVE {read_models/group_members with_members}, listed AS (
    SELECT g.group_id, g.name
    FROM (
        SELECT g.group_id, (SELECT group_name FROM ({read_models/group_names latest}) AS latest) AS name
        FROM with_members g
        OFFSET 0
    ) g
    CROSS JOIN sought
    WHERE sought.text IS NULL OR strpos(event_store.fold_case(g.group_id), sought.text) > 0
       OR strpos(event_store.fold_case(g.name), sought.text) > 0
), page AS (
    SELECT *
    FROM listed
    WHERE CASE
            WHEN CAST(:after_group_id AS text) IS NULL THEN TRUE
            WHEN CAST(:after_name AS text) IS NULL THEN name IS NULL AND group_id > :after_group_id
            ELSE name IS NULL OR (name, group_id) > (CAST(:after_name AS text), CAST(:after_group_id AS text))
          END
    ORDER BY name NULLS LAST, group_id
    LIMIT CAST(:first AS bigint)
)
SELECT total.groups AS total_count, p.group_id, p.name
FROM (SELECT count(*) AS groups FROM listed) AS total
LEFT JOIN page p ON TRUE
ORDER BY p.name NULLS LAST, p.group_id;

-- search --
-- The groups with a member and with :text in the id, in any case. The group with exactly this id comes first, then ids
-- that begin with the text, then the others.
WITH RECURSIVE {read_models/group_members with_members}
SELECT g.group_id
FROM with_members g
CROSS JOIN sought
WHERE strpos(event_store.fold_case(g.group_id), sought.text) > 0
ORDER BY g.group_id = :text DESC, starts_with(event_store.fold_case(g.group_id), sought.text) DESC, g.group_id
LIMIT CAST(:first AS bigint);
