import pg from 'pg'

/** Runs `work` with a connection of its own. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 })
  client.on('error', () => {}) // a query in flight reports it
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** One database for each service and one for the broker. */
export async function createDatabases<Name extends string>(serverUrl: string, names: readonly Name[]): Promise<Record<Name, string>> {
  await withClient(serverUrl, async (client) => {
    for (const name of names) await client.query(`create database ${pg.escapeIdentifier(name)}`)
  })
  const urls = names.map((name) => {
    const url = new URL(serverUrl)
    url.pathname = `/${name}`
    return [name, url.href] as const
  })
  return Object.fromEntries(urls) as Record<Name, string>
}
