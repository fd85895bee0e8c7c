-- What logical decoding needs of a server, and how much of it is taken.
select
  pg_catalog.current_setting('max_replication_slots')::int as max_slots,
  (select pg_catalog.count(*) from pg_catalog.pg_replication_slots)::int as used_slots,
  pg_catalog.current_setting('max_wal_senders')::int as max_senders,
  (select pg_catalog.count(*) from pg_catalog.pg_stat_replication)::int as used_senders,
  (
    select s.setting::bigint << 20 from pg_catalog.pg_settings as s
    where s.name = 'max_slot_wal_keep_size' and s.setting::bigint >= 0
  ) as max_slot_wal_keep,
  -- there from 18 on; written with its unit
  nullif(extract(epoch from
    pg_catalog.current_setting('idle_replication_slot_timeout', true)::interval)::float8, 0
  ) as idle_slot_timeout,
  (
    -- absent where the server does not know the setting, or the role may not see it
    select s.setting from pg_catalog.pg_settings as s where s.name = 'output_plugin_libraries'
  ) as plugin_libraries,
  coalesce(
    pg_catalog.current_setting('max_active_replication_origins', true),
    pg_catalog.current_setting('max_replication_slots')
  )::int as max_origins,
  (select pg_catalog.count(*) from pg_catalog.pg_replication_origin)::int as used_origins,
  pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create') as may_create
