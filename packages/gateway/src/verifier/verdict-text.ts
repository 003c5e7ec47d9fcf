import { verdictHeaders } from '../headers.ts'
import type { Identity } from './tokens.ts'
import type { Verdict } from './verdict.ts'

/** nginx knows two denials; a header tells which answer the client hears. */
const statusLines = { allowed: 'HTTP/1.1 204 No Content', noToken: 'HTTP/1.1 401 No', denied: 'HTTP/1.1 403 No' }

/** What does not change from one request of somebody to the next. */
const identityTexts = new WeakMap<Identity, string>()

/** A verdict as the answer to nginx, whole. */
export function verdictText(verdict: Verdict, durationMs: number): string {
  const { code, status, limit, identity } = verdict
  let text = `${statusLine(verdict)}\r\n${header(verdictHeaders.status, String(status))}${header(verdictHeaders.code, code)}`
  text += header(verdictHeaders.durationMs, durationMs.toFixed(1))
  if (limit !== undefined) text += header(verdictHeaders.rateLimit, limit.rateLimit) + header(verdictHeaders.rateLimitPolicy, limit.policy)
  if (identity !== undefined) text += identityText(identity)
  if (verdict.code !== 'allowed') text += denialText(verdict)
  return `${text}\r\n`
}

function statusLine({ code, status }: Verdict): string {
  if (code === 'allowed') return statusLines.allowed
  return status === 401 ? statusLines.noToken : statusLines.denied
}

function identityText(identity: Identity): string {
  const known = identityTexts.get(identity)
  if (known !== undefined) return known
  let text = header(verdictHeaders.subject, identity.subject) + header(verdictHeaders.scopes, [...identity.scopes].join(' '))
  for (const [name, value] of identity.claims) text += header(verdictHeaders.claims + name, value)
  identityTexts.set(identity, text)
  return text
}

function denialText({ code, status, detail, limit }: Exclude<Verdict, { code: 'allowed' }>): string {
  let text = header('content-length', '0') + header(verdictHeaders.detail, detail)
  if (status === 401) text += header(verdictHeaders.challenge, code === 'token_missing' ? 'Bearer' : 'Bearer error="invalid_token"')
  if (status === 403) text += header(verdictHeaders.challenge, 'Bearer error="insufficient_scope"')
  if (status === 429) text += header(verdictHeaders.retryAfter, String(limit?.retryAfterSeconds ?? 1))
  if (status === 503) text += header(verdictHeaders.retryAfter, '1')
  return text
}

/** Nothing that comes from a token can end a line: whoever made the value has encoded it. This holds if that ever fails. */
function header(name: string, value: string): string {
  if (/[^\x20-\x7e]/.test(value)) throw new Error(`a character in ${name} that no header has`)
  return `${name}: ${value}\r\n`
}
