-- The cluster's identity and timeline, from the control file.
select s.system_identifier, c.timeline_id as timeline
from pg_catalog.pg_control_system() as s, pg_catalog.pg_control_checkpoint() as c
