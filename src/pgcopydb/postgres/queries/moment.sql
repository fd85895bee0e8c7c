-- Which database this is, the time, and how far its log was written, or replayed on a standby.
select
  pg_catalog.current_database()::text as database,
  pg_catalog.current_setting('server_version') as version,
  pg_catalog.to_char(pg_catalog.now(), 'YYYY-MM-DD HH24:MI:SS.US"Z"') as time,
  (
    case when pg_catalog.pg_is_in_recovery()
      then pg_catalog.pg_last_wal_replay_lsn()
      else pg_catalog.pg_current_wal_lsn()
    end
  )::text as lsn
