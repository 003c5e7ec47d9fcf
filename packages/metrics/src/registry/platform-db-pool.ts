/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const platformDbPool = {
  'platform.db_pool.leftovers': {
    kind: 'counter',
    unit: '{connection}',
    description: '',
    owners: ['db-pool'],
    prometheus: 'platform_db_pool_leftovers',
    labels: {
      'db.client.connection.pool.name': 'db_client_connection_pool_name',
      'platform.db_pool.leftover': 'platform_db_pool_leftover',
    },
  },
} as const
