-- The version of the schema.

-- part: version
-- Result: the number of the newest migration applied.
SELECT value FROM {ns}.meta WHERE name = 'version'

-- part: put
INSERT INTO {ns}.meta (name, value) VALUES ('version', :number::int8)
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- part: exists
-- Result: a row where there is the schema.
SELECT 1 FROM pg_namespace WHERE nspname = '{ns}'

-- part: rights
-- What this role may not do in the schema, as the words of a GRANT. Answered without any right at all.
WITH place AS (SELECT oid FROM pg_namespace WHERE nspname = '{ns}')
SELECT current_user::text AS role, 'SCHEMA' AS what, 'USAGE' AS word FROM place WHERE NOT has_schema_privilege(oid, 'USAGE')
UNION
SELECT current_user::text, 'ALL TABLES IN SCHEMA', e.word FROM place
JOIN pg_class AS c ON c.relnamespace = place.oid AND c.relkind = 'r'
CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS e(word)
WHERE NOT has_table_privilege(c.oid, e.word)
UNION
SELECT current_user::text, 'ALL SEQUENCES IN SCHEMA', 'USAGE' FROM place
JOIN pg_class AS c ON c.relnamespace = place.oid
WHERE CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE') ELSE false END
UNION
SELECT current_user::text, 'ALL FUNCTIONS IN SCHEMA', 'EXECUTE' FROM place
JOIN pg_proc AS p ON p.pronamespace = place.oid
WHERE NOT has_function_privilege(p.oid, 'EXECUTE')
