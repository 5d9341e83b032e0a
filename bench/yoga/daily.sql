-- The query of server.mjs: rows of the read model daily_stats, with columns named as the fields of the response.
SELECT
    day                AS "date",
    sessions_completed AS "sessionsCompleted",
    study_seconds / 60 AS "studyTimeMinutes",
    answers,
    correct_answers    AS "correctAnswers",
    CAST(correct_answers AS double precision) / nullif(answers, 0) AS "accuracyRate",
    CAST(response_ms AS double precision) / nullif(timed_answers, 0) AS "averageResponseMs"
FROM daily_stats
WHERE user_id = $1 AND day BETWEEN $2 AND $3
ORDER BY day
