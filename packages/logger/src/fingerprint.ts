import { createHash } from 'node:crypto'
import { readMember } from './render.ts'

/** Counted up when the rule changes, since every error gets another id then. */
const version = 1
const mostFrames = 5
/** Of a stack, where a loop of hostile text would be. */
const longestStack = 16_384
const frame = /^\s*at (?:async )?(?:(.{1,256}?) \()?([^()]{1,1024}?)(?::\d+){0,2}\)?$/
/** What differs between two errors of one kind: numbers, ids, and what stands in quotes. */
const varying = /"[^"]{0,256}"|'[^']{0,256}'|[\da-f]{8}-[\da-f-]{27}|0x[\da-f]+|\d+/gi

/**
 * The same for errors of one kind, whatever their data: made of the type, the code and the functions that it passed in the program's own code, or in
 * any when there is none. Lines and columns do not count, so that it outlives a deployment. Without a stack, the message without what varies.
 */
export function fingerprint(error: Error): string {
  const text = (key: string) => {
    const value = readMember(error, key)
    return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
  }
  const where = framesOf(text('stack').slice(0, longestStack))
  const parts = [text('name'), text('code'), ...(where.length > 0 ? where : [text('message').slice(0, 1_024).replaceAll(varying, '?')])]
  return `${version}-${createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16)}`
}

function framesOf(stack: string): string[] {
  const all = stack.split('\n').flatMap((line) => {
    const [, caller = '', file = ''] = frame.exec(line) ?? []
    return file === '' ? [] : [{ place: `${moduleOf(file)}:${caller.replace(/^new |^Object\.<anonymous>$/, '')}`, isOwn: isOwn(file) }]
  })
  const own = all.filter(({ isOwn }) => isOwn)
  return (own.length > 0 ? own : all).slice(0, mostFrames).map(({ place }) => place)
}

function isOwn(file: string): boolean {
  return !file.startsWith('node:') && !file.includes('node_modules') && file !== '<anonymous>'
}

/** The last two parts of the path: where a program is installed does not count. */
function moduleOf(file: string): string {
  return file
    .replace(/^file:\/\//, '')
    .split('/')
    .slice(-2)
    .join('/')
}
