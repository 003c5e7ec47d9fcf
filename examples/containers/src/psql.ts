/** Runs `docker compose …` on a store and resolves with what it printed. */
export type Compose = (...args: string[]) => Promise<string>

/** What the server's superuser is answered in one session beside it, without headings. Each text is a transaction of its own. */
export async function psql(compose: Compose, container: string, database: string, ...texts: string[]): Promise<string> {
  const how = ['--username=postgres', `--dbname=${database}`, '--no-psqlrc', '--quiet', '--tuples-only', '--no-align']
  return (await compose('exec', '-T', container, 'psql', ...how, ...texts.flatMap((text) => ['--command', text]))).trim()
}
