-- How many learners studied in each week, and how many of their answers were correct?
SELECT monday, count(*) AS learners, round(sum(correct_answers) / sum(answers), 3) AS accuracy_rate
FROM progress.weekly_stats
WHERE answers > 0
GROUP BY monday
ORDER BY monday;

-- How far are the learners on each level?
SELECT level, count(*) FILTER (WHERE items_studied > 0) AS learners, avg(progress_rate) AS average_progress
FROM progress.level_stats
GROUP BY level
ORDER BY level;
