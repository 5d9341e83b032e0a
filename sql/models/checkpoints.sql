-- How far each shard of the log has been folded: by the realtime folds, and by the batch job.

-- table --
CREATE TABLE checkpoints (
    shard      smallint PRIMARY KEY,
    position   bigint NOT NULL,            -- all events of the shard up to here are in the read models
    updated_at timestamptz NOT NULL        -- of the newest event in them, or of the creation
) WITH (fillfactor = 50);

CREATE TABLE batch_checkpoints (
    shard              smallint PRIMARY KEY,
    position           bigint NOT NULL,    -- all of the shard's learners up to here are in the batch's tables
    catalogue_position bigint NOT NULL,    -- and all of the catalogue up to here
    updated_at         timestamptz NOT NULL
) WITH (fillfactor = 50);
