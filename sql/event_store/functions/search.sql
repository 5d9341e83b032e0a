-- Return a text as searches compare it: in lower case in every script, composed, and with one form of the small sigma.
-- Accents stay. ASCII, such as ids, takes a tenth of the time. PostgreSQL 17 added the collation that is the faster
-- one.
DO $search$
BEGIN
    EXECUTE format($function$
CREATE OR REPLACE FUNCTION event_store.fold_case(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $fold$
    SELECT CASE WHEN octet_length(value) = length(value) THEN lower(value COLLATE "C") COLLATE pg_catalog.%1$I
        ELSE replace(lower(normalize(value, NFC) COLLATE pg_catalog.%1$I), 'ς', 'σ') END
$fold$
$function$, CASE WHEN current_setting('server_version_num')::int >= 170000 THEN 'pg_c_utf8' ELSE 'und-x-icu' END);
END
$search$;
