-- Statements of the benchmark of states. PostgreSQL runs the first four, DuckDB the last two.

-- forget --
DROP TABLE pg_temp.remembered_answers;

-- read temporary tables --
SELECT set_config('search_path', 'pg_temp, ' || quote_ident(current_schema()), true);

-- answers --
COPY (SELECT * FROM given_answers) TO STDOUT (FORMAT csv, HEADER);

-- count --
SELECT count(*) FROM given_answers;

-- load --
CREATE TABLE given_answers AS
SELECT * FROM read_csv($path, types = {'occurred_at': 'TIMESTAMPTZ', 'event_id': 'UUID', 'item_id': 'VARCHAR'});
