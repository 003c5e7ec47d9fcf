import { readFile, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { envTemplate } from '../env-template.ts'
import { ConfigError, describeFault } from '../errors.ts'
import { duration } from '../quantities.ts'
import { settingsDocs } from './docs.ts'
import { jsonSchema } from './json-schema.ts'
import { loadModule, type SettingsModule } from './module.ts'
import type { Command, Options, Output } from './command.ts'
import { compareEnvironments, readAllowList, readEnvironment } from './parity.ts'
import { pushCommands } from './push-commands.ts'
import { jsonText } from '../value-text.ts'

export const usage = `platform-config <command> <module> [options] [-- arguments of the program]

  check <module>                 loads the settings, lists everything that is wrong or suspicious
  explain <module> [path …]      value and origin of each setting, or of some; secrets are masked
  template <module>              .env.example
  docs <module>                  a table of all settings, as Markdown
  schema <module>                JSON Schema of the settings files
  parity <module> <one> <other>  compares two environments by shape and class; values are not shown
  rotate <module>                runs the module's export "rotation"
  diff <module> <folder>         what a push would change in Consul; exit 1 when that is something
  push <module> <folder>         makes the keys in Consul what the folder's default.* and <environment>.* say
  history <module>               what was pushed, when and by whom

  <module> exports "settings" (defineConfig), and may export "prefix" (of its variables),
  "loadSettings({ environment })", "sources({ environment })" and "rotation".

  --environment NAME   check, explain: handed to loadSettings or sources; diff, push: which files of the folder
  --prefix PREFIX      of the variables, in place of the module's
  --output FILE        template, docs, schema: write the file
  --compare FILE       template, docs, schema: exit 1 unless the file is this, byte by byte
  --allow FILE         parity: differences that are wanted, { allow: [{ path, reason, until: '2026-12-31' }] }
  --every DURATION     rotate: again and again, until a signal ends it
  --to PREFIX          diff, push, history: the keys below it, as in consulKv({ prefix })
  --consul URL         diff, push, history (default: CONSUL_HTTP_ADDR, http://127.0.0.1:8500); the token is CONSUL_HTTP_TOKEN
  --dry-run            push: says what it would do, and does nothing
  --note TEXT          push: stands in the history (a commit, say)
`

/** Exit code: 0 right, 1 something is wrong with the settings, 2 something is wrong with the call. */
export async function main(argv: readonly string[], output: Output): Promise<number> {
  const end = argv.indexOf('--')
  const own = end < 0 ? argv : argv.slice(0, end)
  let parsed: { positionals: string[]; values: Options & { help?: boolean } }
  try {
    const text = { type: 'string' } as const
    const options = {
      environment: text,
      prefix: text,
      output: text,
      compare: text,
      allow: text,
      every: text,
      to: text,
      consul: text,
      note: text,
      'dry-run': { type: 'boolean' },
      help: { type: 'boolean' },
    } as const
    parsed = parseArgs({ args: [...own], allowPositionals: true, options })
  } catch (error) {
    output.err(`${(error as Error).message}\n\n${usage}`)
    return 2
  }
  const [command, path, ...rest] = parsed.positionals
  if (parsed.values.help || command === undefined) {
    output.out(usage)
    return parsed.values.help ? 0 : 2
  }
  const run = commands[command]
  if (run === undefined || path === undefined) {
    output.err(`${run === undefined ? `there is no command "${command}"` : 'the module is missing'}\n\n${usage}`)
    return 2
  }
  // The program's own arguments are settings for `args()`; ours are not.
  const before = process.argv
  process.argv = [...before.slice(0, 2), ...(end < 0 ? [] : argv.slice(end + 1))]
  try {
    return await run(await loadModule(path, parsed.values.prefix), rest, parsed.values, output)
  } catch (error) {
    output.err(`${error instanceof Error ? error.message : String(error)}\n`)
    return 1
  } finally {
    process.argv = before
  }
}

const commands: Readonly<Record<string, Command | undefined>> = {
  ...pushCommands,

  async check(module, _rest, options, { out }) {
    await using config = await module.load({ environment: options.environment })
    for (const warning of config.warnings) out(`warning: ${describeFault(warning)}\n`)
    const state = await config.check()
    if (state) out(`warning: ${state.message}\n`)
    out(`${module.settings.fields.length} settings are usable.\n`)
    return 0
  },

  async explain(module, rest, options, { out }) {
    await using config = await module.load({ environment: options.environment })
    const paths = rest.length > 0 ? rest : module.settings.fields.map((field) => field.path.join('.'))
    for (const path of paths) {
      try {
        const { value, location } = config.explain(path)
        out(`${path} = ${jsonText(value) ?? 'undefined'}  (${location})\n`)
      } catch (error) {
        if (rest.length > 0 || !ConfigError.isInstance(error)) throw error
        out(`${path} is not set\n`)
      }
    }
    return 0
  },

  template: (module, _rest, options, output) => generate(envTemplate(module.settings, { prefix: prefixOf(module) }), options, output),
  docs: (module, _rest, options, output) => generate(settingsDocs(module.settings, module.prefix), options, output),
  schema: (module, _rest, options, output) => generate(jsonSchema(module.settings), options, output),

  async parity(module, [one, other], options, { out, err }) {
    if (one === undefined || other === undefined) {
      err('parity compares two environments: name both\n')
      return 2
    }
    const allowed = options.allow === undefined ? [] : await readAllowList(options.allow)
    const [first, second] = [await readEnvironment(module, one), await readEnvironment(module, other)]
    const { findings, notes } = compareEnvironments(module.settings.fields, first, second, { allowed, today: new Date() })
    for (const note of notes) out(`note: ${note}\n`)
    for (const finding of findings) err(`${finding}\n`)
    if (findings.length === 0) out(`${one} and ${other} have the same shape.\n`)
    return findings.length === 0 ? 0 : 1
  },

  async rotate(module, _rest, options, { out, err }) {
    const { rotation } = module
    if (rotation === undefined) {
      err('the module exports no "rotation"\n')
      return 2
    }
    const report = ({ username, previous }: { username: string; previous: string | undefined }) =>
      out(`${username} is in use${previous === undefined ? '' : `; ${previous} stays valid until the next rotation`}\n`)
    if (options.every === undefined) {
      report(await rotation.run())
      return 0
    }
    const schedule = rotation.every(duration().parse(options.every), {
      done: report,
      failed: (error) => err(`${(error as Error).message}\n`),
    })
    const hold = setInterval(() => {}, 2 ** 30)
    await new Promise<void>((resolve) => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
    })
    clearInterval(hold)
    await schedule.close()
    return 0
  },
}

function prefixOf({ prefix }: SettingsModule): string {
  if (prefix === undefined) throw new Error('the module exports no "prefix": pass --prefix')
  return prefix
}

async function generate(text: string, { output, compare }: Options, { out, err }: Output): Promise<number> {
  if (output !== undefined) await writeFile(output, text)
  if (compare !== undefined) {
    const found = await readFile(compare, 'utf8').catch(() => undefined)
    if (found === text) return 0
    const lines = found?.split('\n')
    const line = lines === undefined ? 0 : text.split('\n').findIndex((each, index) => each !== lines[index]) + 1
    err(lines === undefined ? `${compare} is missing\n` : `${compare}:${line || text.split('\n').length} is not what the schema gives\n`)
    return 1
  }
  if (output === undefined) out(text)
  return 0
}
