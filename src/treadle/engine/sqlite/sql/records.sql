-- Small shared facts, changed by compare-and-set.

-- part: all
-- Result: [key, value, version]. Relies on the primary key of records.
SELECT key, value, version FROM {ns}_records WHERE space = :space ORDER BY key

-- part: named
SELECT key, value, version FROM {ns}_records
WHERE space = :space AND key IN (SELECT value FROM json_each(:keys)) ORDER BY key

-- part: versions
-- :pairs holds [space, key]. Result: [space, key, version].
SELECT space, key, version FROM {ns}_records
WHERE (space, key) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:pairs))

-- part: put
-- :rows holds [space, key, value, version].
INSERT OR REPLACE INTO {ns}_records SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:rows)

-- part: remove
-- :pairs holds [space, key].
DELETE FROM {ns}_records WHERE (space, key) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:pairs))
