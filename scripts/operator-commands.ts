import { commands } from '../examples/containers/src/arguments.ts'
import { settings } from '../examples/containers/src/settings.ts'
import { composeFiles } from './compose-files.ts'

/** Commands of `infra` that `scripts/infra.ts` gives to other programs, which read their own switches. */
const rehearsals: Readonly<Record<string, readonly string[]>> = {
  drill: ['no-build', 'json'],
  failover: ['no-build', 'json'],
  'rehearse-tls': ['no-build', 'json'],
}
const switchesOf = (command: string): readonly string[] | undefined => rehearsals[command] ?? commands[command]?.switches

const containers: ReadonlySet<string> = new Set([...composeFiles().values()].flatMap((services) => Object.keys(services)))

/** What stands in the pages as code, inline or in a block, a line each. A page says `infra …` for short, a block calls it by pnpm. */
function codeOf(text: string): string[] {
  const blocks = [...text.matchAll(/^```\w*\n(.*?)^```$/gms)].flatMap(([, block]) => block!.split('\n'))
  const inline = [...text.replaceAll(/^```\w*\n.*?^```$/gms, '').matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!)
  return [...blocks, ...inline]
}

/** A name of a container, or what stands for one: `<instance>`, `<service>-1`. */
const isContainer = (word: string) => containers.has(word) || /^<.*>(-\d)?$/.test(word)
const isService = (word: string) => isContainer(word) || isContainer(`${word}-1`)
const isWord = (word: string) => /^[a-z<]/.test(word)

/** Whatever a page tells an operator to type or to set and that is not there. */
export function brokenCommands(page: string, text: string): string[] {
  const broken = codeOf(text).flatMap((line) =>
    line
      .split(/&&|\|\||[;|]/)
      .flatMap(faultsOf)
      .map((fault) => `${page}: \`${line.trim()}\`: ${fault}`),
  )
  const unknown = new Set(
    [...text.matchAll(/\bFILM_STORE_[A-Z\d_]+\b/g)].map(([name]) => name).filter((name) => !Object.hasOwn(settings, name)),
  )
  return [...broken, ...[...unknown].map((name) => `${page}: there is no setting ${name}`)]
}

function faultsOf(line: string): string[] {
  const plain = line
    .replace(/\s+#.*$/, '')
    .trim()
    // It has a script of its own.
    .replace(/(^|pnpm(?:@12)? )rollout /, '$1infra rollout ')
  const [, command, rest = ''] = /(?:^|pnpm(?:@12)? )(?:[A-Z_]+=\S+ )*infra ([a-z][a-z-]*)(.*)/.exec(plain) ?? []
  if (command === undefined) return []
  const switches = switchesOf(command)
  if (switches === undefined) return [`infra has no command ${command}`]
  const words = rest.split(' > ')[0]!.replaceAll(/[[\]]/g, '').trim().split(/\s+/)
  const unknown = words.filter((word) => word.startsWith('--') && !switches.includes(word.slice(2)))
  return [
    ...(command === 'compose' ? [] : unknown.map((word) => `${command} knows no ${word}`)),
    ...named(command, words)
      .filter((word) => !(command === 'rollout' ? isService(word) : isContainer(word)))
      .map((word) => `there is no container ${word}`),
  ]
}

/** The words of a command that are containers. */
function named(command: string, words: readonly string[]): readonly string[] {
  if (command === 'logs') return words.filter(isWord)
  if (command === 'ask' || command === 'rollout') return words.slice(0, 1)
  const [action = '', ...others] = words
  if (command !== 'compose' || !['exec', 'restart', 'start', 'stop', 'kill'].includes(action)) return []
  return others.filter((word, place) => isWord(word) && others[place - 1] !== '--signal').slice(0, 1)
}
