"""What PostgreSQL keeps for a store, and the functions in it that decide: text only, nothing here runs.

Each verb is one statement, ``SELECT schema.v1_verb(…)``, and each statement *inside* its function sees what is
committed by then (READ COMMITTED): so a guard is judged on its row as it is after the wait for its lock, not on a
snapshot from before. Where a database is set to another isolation, the server undoes a statement that waited (40001), and
it is asked again. Rows are locked in the order of their keys, so that no two writes can wait for each other.

A write without a guard locks nothing: it reads, judges, and writes where the row is still as it was read; if it is not,
it begins again. A write with a guard locks both rows first, and reads the clock after that. A key that has no row
cannot be locked: there a row is made which is nothing but a tombstone (no value, a revision that others go on from).

Tombstones older than an hour are swept now and then; how far their revisions went is kept in one row, the floor. That
row is written by a sweep alone, never by every write, for it would make all writers wait for each other.

`NOTIFY` makes all commits of a database wait for each other too. So whoever waits for a key says so in a table (not
logged: hints need not survive), and only a write that finds somebody there says what it wrote.

The names of the functions bear the version of the whole: a client finds its own, or it finds nothing.
"""

from __future__ import annotations


__all__ = ["ANOTHER_VERSION", "FORMAT", "channel_of", "creation"]

#: The version of what is made here.
FORMAT = 1
#: The SQLSTATE of our own with which the creation is refused where there is another version.
ANOTHER_VERSION = "RS001"


def channel_of(schema: str) -> str:
    """Where hints are said."""
    return f"resilience.{schema}"


def creation(schema: str, incarnation: str) -> str:
    """The script that makes everything, in one transaction; of no effect where it is there.

    Args:
        schema: Its name, a checked identifier.
        incarnation: A random name for this life of the store.
    """
    words = {
        "@incarnation": incarnation,
        "@channel": channel_of(schema),
        "@version": str(FORMAT),
        "@another": ANOTHER_VERSION,
        "@name": schema,
        "@now": _NOW,
        "@s": f'"{schema}"',
    }
    text = _CREATION
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return text


#: The moment, on the server's own clock, or as a test says it. Never now(), which stands still within a transaction.
_NOW = "coalesce(at, extract(epoch FROM clock_timestamp())::float8)"

_CREATION = """
DO $do$ BEGIN
  PERFORM pg_advisory_xact_lock(7238491, hashtext('@name'));
  IF to_regnamespace('@s') IS NULL THEN
    CREATE SCHEMA @s;
  END IF;
END $do$;

DO $do$ BEGIN
  IF to_regclass('@s.meta') IS NOT NULL THEN
    IF EXISTS (SELECT FROM @s.meta m WHERE m.version <> @version) THEN
      RAISE EXCEPTION 'there is another version' USING ERRCODE = '@another';
    END IF;
    RETURN;
  END IF;

CREATE TABLE @s.meta (
  version int NOT NULL, incarnation text NOT NULL, floor bigint NOT NULL
);
INSERT INTO @s.meta VALUES (@version, '@incarnation', 0);

-- A row without a value is a tombstone: then expires_at is when that began. Room on each page keeps heartbeats cheap.
CREATE TABLE @s.records (
  key bytea PRIMARY KEY,
  value bytea,
  revision bigint NOT NULL,
  beats bigint NOT NULL,
  ttl float8,
  expires_at float8,
  write_id text
) WITH (fillfactor = 70);

CREATE UNLOGGED TABLE @s.waiters (key bytea PRIMARY KEY, until float8 NOT NULL);

CREATE FUNCTION @s.v@version_load(
  k bytea, at float8,
  OUT o_value bytea, OUT o_revision bigint, OUT o_beats bigint, OUT o_ttl float8, OUT o_left float8, OUT o_write_id text
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  SELECT x.value, x.revision, x.beats, x.ttl, x.expires_at - @now, x.write_id
    INTO o_value, o_revision, o_beats, o_ttl, o_left, o_write_id
    FROM @s.records x WHERE x.key = k AND x.value IS NOT NULL;
END $$;

CREATE FUNCTION @s.v@version_load_many(k bytea[], at float8)
RETURNS TABLE (o_key bytea, o_value bytea, o_revision bigint, o_beats bigint, o_ttl float8, o_left float8, o_write_id text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  t float8 := @now;
BEGIN
  RETURN QUERY SELECT x.key, x.value, x.revision, x.beats, x.ttl, x.expires_at - t, x.write_id
    FROM @s.records x WHERE x.key = ANY (k) AND x.value IS NOT NULL;
END $$;

CREATE FUNCTION @s.v@version_scan(lowest bytea, beyond bytea, most int, has_expired boolean, at float8)
RETURNS TABLE (o_key bytea, o_value bytea, o_revision bigint, o_beats bigint, o_ttl float8, o_left float8, o_write_id text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  t float8 := @now;
BEGIN
  RETURN QUERY SELECT x.key, x.value, x.revision, x.beats, x.ttl, x.expires_at - t, x.write_id
    FROM @s.records x
    WHERE x.key >= lowest AND x.key < beyond AND x.value IS NOT NULL AND coalesce(x.expires_at <= t, false) = has_expired
    ORDER BY x.key LIMIT most;
END $$;

-- want: 0 a revision (0 for none), 1 vacant, 2 whatever there is, 3 as it was seen. No value: a removal.
-- outcome: 0 done, 1 not as expected, 2 the guard refuses, 3 there was nothing to remove.
CREATE FUNCTION @s.v@version_write(
  patience int, k bytea, v bytea, want int, want_revision bigint, want_beats bigint, life float8, wid text,
  g bytea, g_token bigint, sweep boolean, at float8,
  OUT outcome int, OUT o_value bytea, OUT o_revision bigint, OUT o_beats bigint, OUT o_ttl float8, OUT o_left float8,
  OUT o_write_id text
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  r @s.records;
  lease @s.records;
  one bytea;
  t float8;
  n bigint;
  there boolean;
BEGIN
  PERFORM set_config('lock_timeout', patience::text, true);
  LOOP
    IF g IS NULL THEN
      SELECT x.* INTO r FROM @s.records x WHERE x.key = k;
    ELSE
      FOREACH one IN ARRAY CASE WHEN g < k THEN ARRAY[g, k] ELSE ARRAY[k, g] END LOOP
        LOOP
          IF one = k THEN
            SELECT x.* INTO r FROM @s.records x WHERE x.key = k FOR NO KEY UPDATE;
            EXIT WHEN FOUND OR v IS NULL;
          ELSE
            SELECT x.* INTO lease FROM @s.records x WHERE x.key = g FOR SHARE;
            EXIT WHEN FOUND OR g_token IS NOT NULL;
          END IF;
          INSERT INTO @s.records (key, revision, beats, expires_at)
            SELECT one, m.floor, 0, @now FROM @s.meta m ON CONFLICT DO NOTHING;
        END LOOP;
      END LOOP;
      IF g = k THEN
        lease := r;
      END IF;
    END IF;
    t := @now;

    IF g IS NOT NULL AND NOT (CASE
      WHEN g_token IS NULL THEN lease.value IS NULL OR coalesce(lease.expires_at <= t, false)
      ELSE coalesce(lease.value IS NOT NULL AND lease.revision = g_token, false) AND coalesce(lease.expires_at > t, true)
    END) THEN
      outcome := 2;
      r := lease;
      EXIT;
    END IF;

    there := r.value IS NOT NULL;
    IF NOT there AND v IS NULL THEN
      outcome := 3;
      RETURN;
    END IF;
    IF NOT (CASE want
      WHEN 0 THEN want_revision = CASE WHEN there THEN r.revision ELSE 0 END
      WHEN 1 THEN NOT there OR coalesce(r.expires_at <= t, false)
      WHEN 2 THEN true
      ELSE there AND r.revision = want_revision AND r.beats = want_beats
    END) THEN
      outcome := 1;
      EXIT;
    END IF;

    IF r.key IS NULL THEN
      INSERT INTO @s.records (key, value, revision, beats, ttl, expires_at, write_id)
        SELECT k, v, greatest(m.floor + 1, trunc(t * 1000000)::bigint), 0, life, t + life, wid FROM @s.meta m
        ON CONFLICT DO NOTHING RETURNING revision INTO n;
    ELSE
      n := CASE WHEN v IS NULL THEN r.revision ELSE greatest(r.revision + 1, trunc(t * 1000000)::bigint) END;
      UPDATE @s.records x
        SET value = v, revision = n, beats = 0, ttl = life, write_id = wid,
          expires_at = CASE WHEN v IS NULL THEN t ELSE t + life END
        WHERE x.key = k AND x.revision = r.revision AND x.beats = r.beats AND (x.value IS NOT NULL) = there;
    END IF;
    IF FOUND THEN
      outcome := 0;
      EXIT;
    END IF;
  END LOOP;

  IF outcome <> 0 THEN
    IF r.value IS NOT NULL THEN
      o_value := r.value;
      o_revision := r.revision;
      o_beats := r.beats;
      o_ttl := r.ttl;
      o_left := r.expires_at - t;
      o_write_id := r.write_id;
    END IF;
    RETURN;
  END IF;
  o_revision := n;
  o_left := t + life - t;
  IF sweep THEN
    WITH old AS (
      SELECT x.key FROM @s.records x WHERE x.value IS NULL AND x.expires_at < t - 3600 LIMIT 2000 FOR UPDATE SKIP LOCKED
    ), gone AS (
      DELETE FROM @s.records x USING old WHERE x.key = old.key RETURNING x.revision
    )
    SELECT max(gone.revision) INTO n FROM gone;
    IF n IS NOT NULL THEN
      UPDATE @s.meta SET floor = greatest(floor, n);
    END IF;
  END IF;
  IF EXISTS (SELECT FROM @s.waiters w WHERE w.key = k AND w.until > t) THEN
    PERFORM pg_notify('@channel', encode(k, 'hex'));
  END IF;
END $$;

-- Renews; answers with the keys of those that are lost. A key comes n times: the longest of its beats, and the last.
CREATE FUNCTION @s.v@version_extend(
  patience int, k bytea[], tokens bigint[], times bigint[], longest float8[], last float8[], at float8
) RETURNS SETOF bytea LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  t float8;
  renewed int;
BEGIN
  PERFORM set_config('lock_timeout', patience::text, true);
  PERFORM FROM @s.records x WHERE x.key = ANY (k) ORDER BY x.key FOR NO KEY UPDATE;
  t := @now;
  UPDATE @s.records x
    SET beats = x.beats + b.times, ttl = b.last, expires_at = t + greatest(b.longest, x.expires_at - t)
    FROM unnest(k, tokens, times, longest, last) AS b (key, token, times, longest, last)
    WHERE x.key = b.key AND x.revision = b.token AND x.value IS NOT NULL AND x.expires_at > t;
  GET DIAGNOSTICS renewed = ROW_COUNT;
  IF renewed < cardinality(k) THEN
    RETURN QUERY SELECT b.key FROM unnest(k, tokens) AS b (key, token)
      LEFT JOIN @s.records x
        ON x.key = b.key AND x.revision = b.token AND x.value IS NOT NULL AND x.expires_at > t
      WHERE x.key IS NULL;
  END IF;
END $$;

-- Says that somebody waits for a key, for so many seconds; answers with its revision. Somebody's old word is taken away:
-- after ours is said, and none that is locked, so that nobody waits while he holds something.
CREATE FUNCTION @s.v@version_watch(patience int, k bytea, seconds float8, at float8) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  t float8 := @now;
BEGIN
  PERFORM set_config('lock_timeout', patience::text, true);
  INSERT INTO @s.waiters AS w VALUES (k, t + seconds)
    ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE w.until < t + seconds / 2;
  DELETE FROM @s.waiters w USING (
    SELECT o.key FROM @s.waiters o WHERE o.until < t LIMIT 2 FOR UPDATE SKIP LOCKED
  ) AS old WHERE w.key = old.key;
  RETURN (SELECT x.revision FROM @s.records x WHERE x.key = k AND x.value IS NOT NULL);
END $$;

END $do$;
"""
