#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { createDbPool } from '../db-pool.ts'
import type { LoggerLike } from '../options.ts'
import { baselineMigrations, checkMigrations, migrate, migrationStatus } from './migrate.ts'

const usage = `platform-migrate <command> [--directory migrations] [--url postgres://…]

  status     what is applied and what is to be applied
  up         applies what is new; --seeds <folder> runs seeds that are new or changed
  check      what is not as the files say: changed files, invalid indexes, objects changed by hand; exit code 1 if anything
  baseline   records files as applied without running them: --up-to <file>

  --url is $DATABASE_URL when it is left out.
`
const tell =
  (level: string) =>
  (fields: object, message = ''): void =>
    console.error(
      `${level}: ${message} ${JSON.stringify(fields, (key, value: unknown) => (key === 'err' ? (value as Error).message : value))}`,
    )
const logger: LoggerLike = { debug: () => {}, info: tell('info'), warn: tell('warn'), error: tell('error') }

process.exitCode = await main().catch((error: unknown) => {
  const { message, cause } = error as Error
  console.error(cause instanceof Error ? `${message}: ${cause.message}` : message)
  return (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS') ? 2 : 1
})

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      directory: { type: 'string', default: 'migrations' },
      url: { type: 'string' },
      seeds: { type: 'string' },
      'up-to': { type: 'string' },
      help: { type: 'boolean' },
    },
  })
  if (values.help) {
    process.stdout.write(usage)
    return 0
  }
  const [command] = positionals
  const url = values.url ?? process.env['DATABASE_URL']
  if (!['status', 'up', 'check', 'baseline'].includes(command ?? '') || url === undefined) {
    process.stderr.write(url === undefined ? `no --url and no $DATABASE_URL\n\n${usage}` : usage)
    return 2
  }
  const { directory } = values
  const say = (word: string, file: string): void => console.log(`${word.padEnd(8)} ${file}`)
  const db = createDbPool({ url, maxSize: 1, applicationName: 'platform-migrate', logger })
  try {
    if (command === 'up') {
      const { applied, seeded } = await migrate(db, { directory, seeds: values.seeds })
      for (const file of applied) say('applied', file)
      for (const file of seeded) say('seeded', file)
    } else if (command === 'baseline') {
      for (const file of await baselineMigrations(db, { directory, upTo: values['up-to'] ?? '' })) say('recorded', file)
    } else if (command === 'status') {
      const { applied, pending } = await migrationStatus(db, { directory })
      for (const { file, appliedAt } of applied) say('applied', `${file}  ${appliedAt.toISOString()}`)
      for (const file of pending) say('pending', file)
    } else {
      const problems = await checkMigrations(db, { directory })
      for (const problem of problems) console.log(problem)
      return problems.length === 0 ? 0 : 1
    }
    return 0
  } finally {
    await db.close()
  }
}
