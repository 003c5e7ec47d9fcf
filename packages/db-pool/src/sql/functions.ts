/**
 * Functions of the server that leave nothing in the session. One that is not here costs a reset; one that is wrongly here would leak, so a
 * test asks the server whether each is one of its own.
 */
export const cleanFunctions: ReadonlySet<string> = new Set(
  `
  abs acos asin atan atan2 cbrt ceil ceiling cos cot degrees div exp factorial floor gcd lcm ln log log10 mod pi power radians random round
  scale sign sin sqrt tan trim_scale trunc width_bucket
  ascii bit_length btrim char_length character_length chr concat concat_ws decode encode format initcap left length lower lpad ltrim md5
  octet_length quote_ident quote_literal quote_nullable regexp_count regexp_instr regexp_like regexp_match
  regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr repeat replace reverse right rpad rtrim sha224
  sha256 sha384 sha512 split_part starts_with string_to_array string_to_table strpos substr to_ascii to_char to_date to_hex
  to_number to_timestamp translate unistr upper
  age clock_timestamp date_bin date_part date_trunc isfinite justify_days justify_hours justify_interval make_date make_interval
  make_time make_timestamp make_timestamptz now statement_timestamp timeofday timezone transaction_timestamp overlaps
  num_nonnulls num_nulls
  count sum avg min max array_agg bool_and bool_or every string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg bit_and bit_or
  stddev stddev_pop stddev_samp variance var_pop var_samp corr covar_pop covar_samp mode percentile_cont percentile_disc
  row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
  array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position array_positions array_prepend
  array_remove array_replace array_to_json array_to_string array_upper cardinality unnest generate_series generate_subscripts
  json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_each json_each_text
  json_extract_path json_extract_path_text json_object json_object_keys json_populate_record json_populate_recordset json_strip_nulls
  json_to_record json_to_recordset json_typeof jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
  jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys
  jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_populate_record
  jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof
  row_to_json to_json to_jsonb
  to_tsquery to_tsvector plainto_tsquery phraseto_tsquery websearch_to_tsquery ts_headline ts_rank ts_rank_cd setweight numnode querytree
  gen_random_uuid get_byte set_byte get_bit set_bit hashtext hashtextextended
  current_setting current_database current_schema current_schemas pg_backend_pid pg_typeof pg_column_size pg_sleep pg_sleep_for
  pg_sleep_until pg_notify version to_regclass to_regtype to_regproc to_regnamespace obj_description col_description format_type
  pg_get_constraintdef pg_get_expr pg_get_indexdef pg_get_serial_sequence pg_get_viewdef pg_table_is_visible pg_relation_size
  pg_table_size pg_total_relation_size pg_database_size pg_size_pretty pg_indexes_size has_table_privilege has_schema_privilege
  has_database_privilege inet_server_addr inet_client_addr pg_is_in_recovery pg_listening_channels
  pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
  pg_current_xact_id pg_current_xact_id_if_assigned pg_current_snapshot pg_snapshot_xmin pg_snapshot_xmax pg_xact_status
  pg_visible_in_snapshot txid_current pg_current_wal_lsn pg_current_wal_insert_lsn pg_wal_lsn_diff pg_last_wal_replay_lsn
  pg_last_wal_receive_lsn pg_blocking_pids pg_cancel_backend pg_terminate_backend pg_stat_get_activity
  box circle point polygon line lseg path area center diameter height width radius host hostmask netmask network masklen broadcast family
  lower_inc upper_inc lower_inf upper_inf isempty range_merge int4range int8range numrange tsrange tstzrange daterange
  `
    .trim()
    .split(/\s+/),
)

/** What these leave stays until the connection ends. */
export const lastingFunctions: ReadonlySet<string> = new Set([
  'setseed',
  'dblink_connect',
  'dblink_connect_u',
  'pg_backup_start',
  'pg_copy_logical_replication_slot',
  'pg_copy_physical_replication_slot',
  'pg_create_logical_replication_slot',
  'pg_create_physical_replication_slot',
  'pg_replication_origin_session_setup',
])
