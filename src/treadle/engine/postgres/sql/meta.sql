-- The version of the schema.

-- part: version
-- Result: the number of the newest migration applied.
SELECT value FROM {ns}.meta WHERE name = 'version'

-- part: put
INSERT INTO {ns}.meta (name, value) VALUES ('version', :number::int8)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
