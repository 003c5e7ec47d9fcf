import { knownOptions } from '@platform/kernel'
import type { ZodType, input as Input, output as Output } from 'zod'
import { headersFault, isIdentifier, type Envelope } from './envelope.ts'
import { nameOf } from './error-text.ts'
import { QueueError } from './errors.ts'
import { uuidv7 } from './uuid.ts'
import { namePattern, refuse } from './validation.ts'

/**
 * A contract: what is published under a name and version. `In` is what `publish` takes, `Out` what a handler gets; they differ when the
 * schema transforms. `in` and `out` exist for the types only.
 */
export interface Message<In, Out = In> {
  readonly name: string
  readonly version: number
  readonly in?: (body: In) => void
  readonly out?: Out
}

export interface MessageOptions<S extends ZodType> {
  /** A whole number from 1. Part of the address: consumers of one version never see another. */
  version: number
  /** Checked when publishing and again before the handler runs. */
  schema: S
  /** Messages with the same key keep their order in ordered groups. Called with the body as published. Default: no key, no order. */
  key?: ((body: Input<S>) => string) | undefined
  /** Default true: publishing what nobody has ever subscribed to is an error. False: it is discarded, for news that only live processes need. */
  mandatory?: boolean | undefined
  /**
   * By version, what makes a body of the next version out of one of that version, without gap up to `version`. With them a consumer takes
   * older messages as well, each version in an order of its own. They may be asynchronous; what they make is checked by the schema. Default: none.
   */
  upcasters?: Readonly<Record<number, (body: unknown) => unknown>> | undefined
}

export interface Delivery<T> {
  readonly id: string
  readonly body: T
  readonly key?: string
  /** 1 for the first try. */
  readonly attempt: number
  readonly headers: Readonly<Record<string, string>>
  readonly publishedAt: Date
}

type ParseResult = ReturnType<ZodType['safeParse']>

interface Contract {
  readonly version: number
  readonly parse: (value: unknown) => ParseResult | Promise<ParseResult>
  /** From the oldest version on. */
  readonly upcasters: readonly { readonly version: number; readonly destination: string; readonly upcast: (body: unknown) => unknown }[]
  readonly key: ((body: never) => string) | undefined
  readonly mandatory: boolean
  readonly destination: string
}

/** On the message itself, so that a message of one installed copy works with a broker of another. */
const contractKey = Symbol.for('@platform/queue/contract')

export function defineMessage<S extends ZodType>(name: string, options: MessageOptions<S>): Message<Input<S>, Output<S>> {
  if (!namePattern.test(name)) throw new QueueError('ERR_QUEUE_OPTION', { detail: 'name: 1 to 100 of A-Z a-z 0-9 . _ -' })
  if (!Number.isSafeInteger(options.version) || options.version < 1) {
    throw new QueueError('ERR_QUEUE_OPTION', { detail: 'version: a whole number from 1' })
  }
  if (typeof options.schema?.safeParseAsync !== 'function') throw new QueueError('ERR_QUEUE_OPTION', { detail: 'schema: a zod schema' })
  knownOptions(refuse, '', options, ['version', 'schema', 'key', 'mandatory', 'upcasters'])
  const contract: Contract = {
    version: options.version,
    upcasters: resolveUpcasters(name, options),
    parse: parserOf(options.schema),
    key: options.key as Contract['key'],
    mandatory: options.mandatory ?? true,
    destination: destinationOf(name, options.version),
  }
  const message: Message<Input<S>, Output<S>> = { name, version: options.version }
  return Object.freeze(Object.defineProperty(message, contractKey, { value: contract }))
}

/**
 * At once where the schema allows it, which the first value that fits tells. Until then values are awaited: of a schema that is asked at once, nobody
 * would hear what an asynchronous part rejects with.
 */
function parserOf(schema: ZodType): Contract['parse'] {
  let way: 'not known' | 'at once' | 'awaited' = 'not known'
  const learn = async (value: unknown): Promise<ParseResult> => {
    const result = await schema.safeParseAsync(value)
    if (result.success && way === 'not known') way = parsesAtOnce(schema, value) ? 'at once' : 'awaited'
    return result
  }
  return (value) => {
    if (way === 'not known') return learn(value)
    if (way === 'at once') {
      try {
        return schema.safeParse(value)
      } catch {
        // Another branch of it has an asynchronous part.
        way = 'awaited'
      }
    }
    return schema.safeParseAsync(value)
  }
}

function parsesAtOnce(schema: ZodType, value: unknown): boolean {
  try {
    schema.safeParse(value)
    return true
  } catch {
    return false
  }
}

function destinationOf(name: string, version: number): string {
  return `${name}.v${version}`
}

function resolveUpcasters(name: string, { version, upcasters = {} }: MessageOptions<ZodType>): Contract['upcasters'] {
  const versions = Object.keys(upcasters).map(Number)
  const oldest = version - versions.length
  // Integer keys come in ascending order.
  const gapless = oldest >= 1 && versions.every((each, at) => each === oldest + at)
  if (!gapless) throw refuse('upcasters', `must be for the versions before ${version}, without gap`)
  return versions.map((each) => {
    const upcast = upcasters[each]
    if (typeof upcast !== 'function') throw refuse(`upcasters.${each}`, 'must be a function')
    return { version: each, destination: destinationOf(name, each), upcast }
  })
}

export function contractOf(message: Message<never, unknown>): Contract {
  const contract = (message as { readonly [contractKey]?: Contract } | undefined)?.[contractKey]
  if (contract === undefined) throw new QueueError('ERR_QUEUE_OPTION', { detail: 'message: use what defineMessage() returned' })
  return contract
}

/** A message that is ready to be sent, now or later: what an outbox stores. Plain data, survives JSON. */
export interface OutgoingMessage {
  readonly destination: string
  readonly mandatory: boolean
  readonly envelope: Envelope
}

/** Validates and serialises, at once where the schema allows it; the schema's input is what travels, so that transforms run once, at the consumer. */
export function encode<In>(
  message: Message<In, unknown>,
  body: In,
  headers: Record<string, string>,
  id?: string,
): OutgoingMessage | Promise<OutgoingMessage> {
  const contract = contractOf(message)
  const seal = (result: ParseResult): OutgoingMessage => {
    if (!result.success) throw invalid(contract.destination, issuePaths(result.error.issues))
    const text = orInvalid(contract, 'the body has no JSON form', () => JSON.stringify(body))
    if (text === undefined) throw invalid(contract.destination, 'the body has no JSON form')
    const key = orInvalid(contract, 'key() failed', () => contract.key?.(body as never))
    if (key !== undefined && !isIdentifier(key)) throw invalid(contract.destination, 'key: well-formed text of 1 to 255 bytes without NUL')
    if (id !== undefined && !isIdentifier(id)) throw invalid(contract.destination, 'id: well-formed text of 1 to 255 bytes without NUL')
    const fault = headersFault(headers)
    if (fault !== undefined) throw invalid(contract.destination, fault)
    const { name, version } = message
    return {
      destination: contract.destination,
      mandatory: contract.mandatory,
      envelope: { id: id ?? uuidv7(), name, version, key, headers, publishedAt: Date.now(), body: text },
    }
  }
  const result = contract.parse(body)
  if (!(result instanceof Promise)) return seal(result)
  return result.then(seal, (error: unknown) => {
    throw invalid(contract.destination, 'the schema failed', error)
  })
}

/** What the user's own functions throw is the cause. */
function orInvalid<R>({ destination }: Contract, detail: string, work: () => R): R {
  try {
    return work()
  } catch (error) {
    throw invalid(destination, detail, error)
  }
}

type Decoded<Out> = { readonly body: Out } | { readonly reason: string }

/** The typed body, or why there is none; at once where the schema allows it. */
export function decode<Out>(
  message: Message<never, Out>,
  envelope: Pick<Envelope, 'version' | 'body'>,
): Decoded<Out> | Promise<Decoded<Out>> {
  const { parse, version, upcasters } = contractOf(message)
  let value: unknown
  try {
    value = JSON.parse(envelope.body)
  } catch {
    return { reason: 'invalid body: not JSON' }
  }
  const chain = upcasters.filter((upcaster) => upcaster.version >= envelope.version)
  if (envelope.version !== version - chain.length) return { reason: `invalid version: ${envelope.version}, not ${version}` }
  const judge = (result: ParseResult): Decoded<Out> =>
    result.success ? { body: result.data as Out } : { reason: `invalid body: ${issuePaths(result.error.issues)}` }
  const failed = (error: unknown): Decoded<Out> => ({ reason: `invalid body: the schema failed (${nameOf(error)})` })
  const check = (raised: Raised): Decoded<Out> | Promise<Decoded<Out>> => {
    if ('reason' in raised) return raised
    try {
      const result = parse(raised.value)
      return result instanceof Promise ? result.then(judge).catch(failed) : judge(result)
    } catch (error) {
      return failed(error)
    }
  }
  const raised = raise(value, chain)
  return raised instanceof Promise ? raised.then(check) : check(raised)
}

type Raised = { readonly value: unknown } | { readonly reason: string }

/** From version to version; at once as long as the upcasters answer at once. */
function raise(value: unknown, [next, ...later]: Contract['upcasters']): Raised | Promise<Raised> {
  if (next === undefined) return { value }
  const failed = (error: unknown): Raised => ({ reason: `invalid body: the upcaster of version ${next.version} failed (${nameOf(error)})` })
  try {
    const raised = next.upcast(value)
    if (typeof (raised as PromiseLike<unknown> | null | undefined)?.then !== 'function') return raise(raised, later)
    return Promise.resolve(raised).then((settled) => raise(settled, later), failed)
  } catch (error) {
    return failed(error)
  }
}

function invalid(destination: string, detail: string, cause?: unknown): QueueError {
  return new QueueError('ERR_QUEUE_INVALID', { destination, detail, cause })
}

/** Paths and kinds of fault only: values are user data and stay out of logs and reasons. */
function issuePaths(issues: readonly { path: readonly PropertyKey[]; code?: string | undefined }[]): string {
  return issues
    .slice(0, 5)
    .map((issue) => `${issue.path.map(String).join('.') || '(whole)'} ${issue.code ?? 'custom'}`)
    .join(', ')
}
