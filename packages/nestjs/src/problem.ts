import { STATUS_CODES } from 'node:http'
import { HttpException } from '@nestjs/common'

/** One wrong member of the request. `pointer` is a JSON pointer into the body, query or parameters. */
export interface ProblemError {
  readonly pointer?: string
  readonly message: string
}

/** RFC 9457. */
export interface Problem {
  readonly type: 'about:blank'
  readonly title: string
  readonly status: number
  readonly detail?: string
  readonly errors?: readonly ProblemError[]
}

/** Further ones say nothing new and would let a client choose the size of its answer. */
const maxErrors = 50

export interface ZodIssue {
  readonly path: readonly PropertyKey[]
  readonly message: string
}

/** Restates what is needed of zod's error, so that neither its version nor its presence matters. */
export function zodIssues(error: unknown): readonly ZodIssue[] | undefined {
  const { name, issues } = (typeof error === 'object' && error !== null ? error : {}) as { name?: unknown; issues?: unknown }
  return (name === 'ZodError' || name === '$ZodError') && Array.isArray(issues) ? (issues as ZodIssue[]) : undefined
}

export function problemErrors(issues: readonly ZodIssue[], prefix: readonly PropertyKey[] = []): ProblemError[] {
  return issues.slice(0, maxErrors).map(({ path, message }) => ({
    pointer: `#${[...prefix, ...path].map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')}`,
    message,
  }))
}

function problem(status: number, detail?: string, errors?: readonly ProblemError[]): Problem {
  const title = STATUS_CODES[status] ?? 'Error'
  return {
    type: 'about:blank',
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

function fromHttpException(error: HttpException): Problem {
  const status = error.getStatus()
  const response = error.getResponse()
  if (typeof response === 'string') return problem(status, response)
  const { message, detail, errors } = response as { message?: unknown; detail?: unknown; errors?: unknown }
  const listed = Array.isArray(errors) ? (errors as ProblemError[]) : undefined
  // The shape of class-validator: a list of sentences.
  if (Array.isArray(message))
    return problem(
      status,
      'the request is not valid',
      message.slice(0, maxErrors).map((one) => ({ message: String(one) })),
    )
  const text = typeof detail === 'string' ? detail : typeof message === 'string' ? message : undefined
  return problem(status, text, listed)
}

/** What body-parser calls them; its messages repeat parts of the body. */
const bodyProblems: Readonly<Record<string, string>> = {
  'entity.too.large': 'the body is too large',
  'entity.parse.failed': 'the body is not valid JSON',
  'encoding.unsupported': 'the content encoding is not supported',
  'charset.unsupported': 'the charset is not supported',
  'request.aborted': 'the request was aborted',
  'request.size.invalid': 'the body is not as long as Content-Length says',
}

/** An error of the body parser in our words. */
export function bodyException(error: unknown): HttpException | undefined {
  const { type, statusCode } = (typeof error === 'object' && error !== null ? error : {}) as { type?: unknown; statusCode?: unknown }
  const text = typeof type === 'string' ? bodyProblems[type] : undefined
  return text !== undefined && typeof statusCode === 'number'
    ? new HttpException({ message: text }, statusCode, { cause: error })
    : undefined
}

/** The errors of `http-errors`, which Express and its body parser throw. */
function fromHttpError(error: unknown): Problem | undefined {
  if (!(error instanceof Error)) return undefined
  const { statusCode, expose, type } = error as Error & { statusCode?: unknown; expose?: unknown; type?: unknown }
  if (typeof statusCode !== 'number' || typeof expose !== 'boolean' || statusCode < 400 || statusCode > 599) return undefined
  const known = typeof type === 'string' ? bodyProblems[type] : undefined
  return problem(statusCode, known ?? (expose ? error.message : undefined))
}
