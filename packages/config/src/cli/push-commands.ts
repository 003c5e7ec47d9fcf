import type { Command, Options } from './command.ts'
import { ConsulStore } from './consul-store.ts'
import { textsOfFolder } from './folder.ts'
import type { SettingsModule } from './module.ts'
import { carryOut, describeChanges, historyBelow, type Plan, planPush } from './push.ts'

class CallError extends Error {}

/** Settings in Git, and from there in Consul. */
export const pushCommands: Readonly<Record<'diff' | 'push' | 'history', Command>> = {
  diff: called(async (module, [folder], options, { out }) => {
    const { plan } = await planOf(module, folder, options)
    out(describeChanges(plan.changes))
    return plan.changes.length === 0 ? 0 : 1
  }),

  push: called(async (module, [folder], options, { out }) => {
    const { plan, store, prefix } = await planOf(module, folder, options)
    out(describeChanges(plan.changes))
    if (plan.changes.length === 0) out(`${prefix} is what ${folder} says.\n`)
    else if (options['dry-run']) out(`${plan.changes.length} changes, none of them made (--dry-run).\n`)
    else {
      const { revision, transactions } = await carryOut(store, prefix, plan, options.note)
      const how = transactions === 1 ? 'at once' : `in ${transactions} transactions, one after the other`
      out(`revision ${revision} of ${prefix}: ${plan.changes.length} changes, ${how}.\n`)
    }
    return 0
  }),

  history: called(async (_module, _rest, options, { out }) => {
    const { store, prefix } = storeOf(options)
    for (const { revision, at, by, note, changes } of await historyBelow(store, prefix)) {
      out(`${revision}  ${at}  ${by}${note === undefined ? '' : `  ${note}`}\n${describeChanges(changes).replaceAll(/^(?=.)/gm, '  ')}`)
    }
    return 0
  }),
}

function called(command: Command): Command {
  return async (module, rest, options, output) => {
    try {
      return await command(module, rest, options, output)
    } catch (error) {
      if (!(error instanceof CallError)) throw error
      output.err(`${error.message}\n`)
      return 2
    }
  }
}

async function planOf(
  module: SettingsModule,
  folder: string | undefined,
  options: Options,
): Promise<{ plan: Plan; store: ConsulStore; prefix: string }> {
  if (folder === undefined) throw new CallError('name the folder of the settings')
  const { store, prefix } = storeOf(options)
  const wanted = await textsOfFolder(module, folder, options.environment)
  return { plan: planPush(prefix, wanted, await store.read(prefix), module.settings.fields), store, prefix }
}

function storeOf({ to, consul }: Options): { store: ConsulStore; prefix: string } {
  if (to === undefined || !/^[^/?#]+(\/[^/?#]+)*$/.test(to)) throw new CallError('--to must be a path such as film-store/orders')
  const given = consul ?? process.env['CONSUL_HTTP_ADDR'] ?? 'http://127.0.0.1:8500'
  // Consul's own tools take an address without its scheme as well.
  const url = given.includes('://') ? given : `http://${given}`
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? '')) throw new CallError('--consul must be an http:// or https:// URL')
  return { store: new ConsulStore(url, process.env['CONSUL_HTTP_TOKEN'] || undefined), prefix: to }
}
