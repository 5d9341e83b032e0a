-- Accept an operation, unless this caller started one of the kind by the same idempotency key. Return its id;
-- is_same = false if the arguments of the earlier one differ.
CREATE OR REPLACE FUNCTION operations.accept(
    kind text, started_by text, key text, arguments jsonb, steps text[],
    OUT operation_id uuid, OUT is_same boolean, OUT is_finished boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    digest bytea := sha256(convert_to(accept.key, 'UTF8'));
BEGIN
    INSERT INTO operations.operations AS o (kind, started_by, key_digest, arguments)
    VALUES (accept.kind, accept.started_by, digest, accept.arguments)
    ON CONFLICT (started_by, kind, key_digest) DO NOTHING
    RETURNING o.operation_id INTO accept.operation_id;
    INSERT INTO operations.steps (operation_id, place, name)
    SELECT accept.operation_id, s.place, s.name
    FROM unnest(accept.steps) WITH ORDINALITY AS s (name, place)
    WHERE accept.operation_id IS NOT NULL;

    SELECT o.operation_id, o.arguments = accept.arguments, o.finished_at IS NOT NULL
    INTO STRICT accept.operation_id, accept.is_same, accept.is_finished
    FROM operations.operations o
    WHERE o.started_by = accept.started_by AND o.kind = accept.kind AND o.key_digest = digest;
END $$;

REVOKE EXECUTE ON FUNCTION operations.accept FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.accept TO progress_query;
