-- Who sleeps, and how he is woken.

-- part: declare
-- Say that :waiter sleeps on :channels for :length microseconds. Relies on the primary key of idle.
INSERT INTO {ns}.idle (channel, waiter, until)
SELECT channel, :waiter::text, {clock} + :length::int8 FROM unnest(:channels::text::text[]) AS e(channel)
ON CONFLICT (channel, waiter) DO UPDATE SET until = excluded.until

-- part: lie
-- Hold the locks of :channels, beside other sleepers, for as long as this connection lasts: whoever stores a lone job tries one,
-- which costs next to nothing, and looks into the table only if it is held.
SELECT pg_advisory_lock_shared(hashtextextended(channel, 0)) FROM unnest(:channels::text::text[]) AS e(channel)

-- part: rise
SELECT pg_advisory_unlock_shared(hashtextextended(channel, 0)) FROM unnest(:channels::text::text[]) AS e(channel)

-- part: writers
-- Who is writing at this moment. Result: the numbers of these transactions.
SELECT x::text::int8 FROM pg_snapshot_xip(pg_current_snapshot()) AS x

-- part: revoke
-- Relies on the primary key of idle.
DELETE FROM {ns}.idle WHERE waiter = :waiter::text AND channel = ANY(:channels::text::text[])

-- part: sweep
-- Forget the declarations of waiters that ended without a word.
DELETE FROM {ns}.idle WHERE until < {clock}

-- part: notify
-- Notify those of :channels on which somebody sleeps; one transaction sends the same only once. Relies on the primary key of idle.
SELECT pg_notify(channel, '') FROM {ns}.idle WHERE channel = ANY(:channels::text::text[]) AND until > {clock}

-- part: sleepers
-- Result: the channels that begin with :prefix on which somebody sleeps. Relies on the primary key of idle.
SELECT DISTINCT channel FROM {ns}.idle WHERE starts_with(channel, :prefix::text) AND until > (SELECT {clock})
