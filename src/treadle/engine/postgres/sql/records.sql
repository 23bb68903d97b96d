-- Small shared facts, changed by compare-and-set.

-- part: all
-- Result: [key, value, version]. Relies on the primary key of records.
SELECT key, value, version FROM {ns}.records WHERE space = :space::text ORDER BY key

-- part: named
SELECT key, value, version FROM {ns}.records WHERE space = :space::text AND key = ANY(:keys::text::text[]) ORDER BY key

-- part: lock
-- Let nobody else change these records, there or not, before this transaction ends.
SELECT pg_advisory_xact_lock(h) FROM (
    SELECT DISTINCT hashtextextended('{ns} ' || space || ' ' || key, 0) AS h
    FROM unnest(:spaces::text::text[], :keys::text::text[]) AS e(space, key) ORDER BY h) AS o

-- part: versions
-- Result: [space, key, version]. Relies on the primary key of records.
SELECT r.space, r.key, r.version
FROM unnest(:spaces::text::text[], :keys::text::text[]) AS e(space, key)
JOIN {ns}.records AS r ON r.space = e.space AND r.key = e.key

-- part: put
INSERT INTO {ns}.records (space, key, value, version)
SELECT * FROM unnest(:space::text::text[], :key::text::text[], :value::text::text[], :version::text::int8[])
ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, version = excluded.version

-- part: remove
-- Relies on the primary key of records.
DELETE FROM {ns}.records AS r
USING unnest(:space::text::text[], :key::text::text[]) AS e(space, key) WHERE r.space = e.space AND r.key = e.key
