import { STATUS_CODES } from 'node:http'
import { HttpException } from '@nestjs/common'

/** One wrong member of the request. `pointer` is a JSON pointer into the body, query or parameters. */
export interface ProblemError {
  readonly pointer?: string
  readonly message: string
}

/** RFC 9457. What an HttpException carries beyond Nest's own members (`code: 'SOLD_OUT'`) stands beside these, as the RFC's extension members. */
export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail?: string
  readonly instance?: string
  readonly errors?: readonly ProblemError[]
  readonly [extension: string]: unknown
}

/** Further ones say nothing new and would let a client choose the size of its answer. */
const maxErrors = 50

/** Of zod, or of Standard Schema: there a step of the path may be an object. */
export interface SchemaIssue {
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
  readonly message: string
}

/** Restates what is needed of zod's error, so that neither its version nor its presence matters. */
export function zodIssues(error: unknown): readonly SchemaIssue[] | undefined {
  const { name, issues } = (typeof error === 'object' && error !== null ? error : {}) as { name?: unknown; issues?: unknown }
  return (name === 'ZodError' || name === '$ZodError') && Array.isArray(issues) ? (issues as SchemaIssue[]) : undefined
}

export function problemErrors(issues: readonly SchemaIssue[], prefix: readonly PropertyKey[] = []): ProblemError[] {
  return issues.slice(0, maxErrors).map(({ path = [], message }) => {
    const keys = path.map((step) => (typeof step === 'object' ? step.key : step))
    const steps = [...prefix, ...keys].map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    return { pointer: `#${steps.join('')}`, message }
  })
}

function problem(status: number, detail?: string, errors?: readonly ProblemError[], own: Readonly<Record<string, unknown>> = {}): Problem {
  const title = textOf(own['title']) ?? STATUS_CODES[status] ?? 'Error'
  return {
    ...own,
    type: textOf(own['type']) ?? 'about:blank',
    title,
    status,
    ...(detail === undefined || detail === title ? {} : { detail }),
    ...(errors === undefined || errors.length === 0 ? {} : { errors }),
  }
}

/** What the client may know of an error. Of one that nobody meant for it: the status alone. */
export function toProblem(error: unknown): Problem {
  if (error instanceof HttpException) return fromHttpException(error)
  const issues = zodIssues(error)
  if (issues) return problem(400, 'the request is not valid', problemErrors(issues))
  return fromHttpError(error) ?? problem(500)
}

/** Nest's own members of a response, told in the problem's. */
const nestMembers = new Set(['statusCode', 'message', 'error', 'detail', 'errors', 'status'])

function fromHttpException(error: HttpException): Problem {
  const status = error.getStatus()
  const response = error.getResponse()
  const { errorCode } = error as { errorCode?: unknown }
  const coded = errorCode === undefined ? {} : { errorCode }
  if (typeof response !== 'object' || response === null) return problem(status, String(response), undefined, coded)
  const { message, detail, errors } = response as { message?: unknown; detail?: unknown; errors?: unknown }
  const own = { ...coded, ...serializable(Object.entries(response).filter(([name]) => !nestMembers.has(name))) }
  // What Nest's own validation makes: a list of sentences, or of class-validator's errors.
  if (Array.isArray(message)) {
    const told = message.slice(0, maxErrors).flatMap((one: unknown) => validationErrors(one))
    return problem(status, 'the request is not valid', told.slice(0, maxErrors), own)
  }
  return problem(status, textOf(detail) ?? textOf(message), Array.isArray(errors) ? (errors as ProblemError[]) : undefined, own)
}

/** By the shape of class-validator's `ValidationError`. It holds the object that was sent as well, which is not repeated. */
interface ValidationErrorLike {
  readonly property?: unknown
  readonly constraints?: Readonly<Record<string, string>> | undefined
  readonly children?: readonly ValidationErrorLike[] | undefined
  readonly message?: unknown
}

function validationErrors(one: unknown, around: readonly PropertyKey[] = []): ProblemError[] {
  if (typeof one !== 'object' || one === null) return [{ message: String(one) }]
  const { property, constraints, children = [], message } = one as ValidationErrorLike
  const path = typeof property === 'string' ? [...around, property] : around
  const texts = Object.values(constraints ?? {}).map(String)
  if (typeof message === 'string') texts.push(message)
  const own = problemErrors(texts.map((text) => ({ path, message: text })))
  if (around.length >= deepest || !Array.isArray(children)) return own
  return [...own, ...children.slice(0, maxErrors).flatMap((child: unknown) => validationErrors(child, path))]
}

/** Further ones say nothing new and a body may be nested without end. */
const deepest = 20

/** A member that JSON cannot carry must not cost the client its answer. */
function serializable(members: readonly (readonly [string, unknown])[]): Record<string, unknown> {
  const kept = members.filter(([, value]) => {
    try {
      return JSON.stringify(value) !== undefined
    } catch {
      return false
    }
  })
  return Object.fromEntries(kept)
}

const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)

/** What body-parser calls them; its messages repeat parts of the body. */
const bodyProblems: ReadonlyMap<unknown, string> = new Map([
  ['entity.too.large', 'the body is too large'],
  ['entity.parse.failed', 'the body is not valid JSON'],
  ['encoding.unsupported', 'the content encoding is not supported'],
  ['charset.unsupported', 'the charset is not supported'],
  ['request.aborted', 'the request was aborted'],
  ['request.size.invalid', 'the body is not as long as Content-Length says'],
])

/** An error of the body parser in our words. */
export function bodyException(error: unknown): HttpException | undefined {
  const { type, statusCode } = (typeof error === 'object' && error !== null ? error : {}) as { type?: unknown; statusCode?: unknown }
  const text = bodyProblems.get(type)
  return text !== undefined && typeof statusCode === 'number'
    ? new HttpException({ message: text }, statusCode, { cause: error })
    : undefined
}

/**
 * An error that carries a status, as those of `http-errors` do, which Express and its body parser throw, and those of Fastify: Nest takes it as
 * the answer's. Its message is shown when it says so (`expose`): others may repeat parts of the request, or of an upstream's answer.
 */
function fromHttpError(error: unknown): Problem | undefined {
  if (!(error instanceof Error)) return undefined
  const { statusCode, expose, type, code } = error as Error & { statusCode?: unknown; expose?: unknown; type?: unknown; code?: unknown }
  if (!Number.isInteger(statusCode) || (statusCode as number) < 400 || (statusCode as number) > 599) return undefined
  const isMeant = expose === true
  const known = bodyProblems.get(type) ?? fastifyProblems.get(code)
  const own = isMeant && typeof code === 'string' ? { code } : {}
  return problem(statusCode as number, known ?? (isMeant ? error.message : undefined), undefined, own)
}

const fastifyProblems: ReadonlyMap<unknown, string> = new Map([
  ['FST_ERR_CTP_BODY_TOO_LARGE', 'the body is too large'],
  ['FST_ERR_CTP_INVALID_JSON_BODY', 'the body is not valid JSON'],
  ['FST_ERR_CTP_EMPTY_JSON_BODY', 'the body is not valid JSON'],
  ['FST_ERR_CTP_INVALID_MEDIA_TYPE', 'the content type is not supported'],
  ['FST_ERR_CTP_INVALID_CONTENT_LENGTH', 'the body is not as long as Content-Length says'],
])
