import { chmodSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { withDeadline } from '@platform/kernel'
import { verdictHeaders } from '../headers.ts'
import { instruments } from '../instrumentation.ts'
import type { LoggerLike } from '../logger-like.ts'
import type { Verdict } from './verdict.ts'
import type { Question } from './verifier.ts'

/** Below nginx's own limit, so that what the client hears says why. */
const answerTimeoutMs = 4_000

/** Answers nginx's questions on a socket of the gateway's folder. */
export class VerifierServer {
  readonly #server: Server
  readonly #decide: (question: Question) => Promise<Verdict>
  readonly #logger: LoggerLike

  constructor(decide: (question: Question) => Promise<Verdict>, logger: LoggerLike) {
    this.#decide = decide
    this.#logger = logger
    this.#server = createServer(
      { keepAliveTimeout: 120_000, requestTimeout: 0 },
      (request, response) => void this.#answer(request, response),
    )
    this.#server.on('clientError', (_error, socket) => void socket.destroy())
  }

  async listen(socket: string): Promise<void> {
    rmSync(socket, { force: true })
    await new Promise<void>((resolve, reject) => void this.#server.once('error', reject).listen(socket, resolve))
    // Workers run as another user when the gateway is root's.
    chmodSync(socket, 0o666)
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise((resolve) => void this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }

  async #answer({ headers }: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = performance.now()
    const question: Question = {
      route: String(headers[verdictHeaders.route] ?? ''),
      address: String(headers[verdictHeaders.clientAddress] ?? ''),
      authorization: headers.authorization,
    }
    let verdict: Verdict
    try {
      const late = (): Error => new Error(`no verdict within ${answerTimeoutMs} ms`)
      verdict = await withDeadline(answerTimeoutMs, late, () => this.#decide(question))
    } catch (error) {
      this.#logger.error({ route: question.route, reason: (error as Error).message }, 'no verdict on a request')
      verdict = { code: 'verifier_failed', status: 503, detail: 'the request could not be verified' }
    }
    instruments().verdicts.add(1, { route: question.route, outcome: verdict.code })
    write(response, verdict, performance.now() - startedAt)
  }
}

function write(response: ServerResponse, verdict: Verdict, durationMs: number): void {
  const { code, status, limit, identity } = verdict
  const headers: string[] = [
    verdictHeaders.status,
    String(status),
    verdictHeaders.code,
    code,
    verdictHeaders.durationMs,
    durationMs.toFixed(1),
  ]
  if (limit !== undefined) headers.push(verdictHeaders.rateLimit, limit.rateLimit, verdictHeaders.rateLimitPolicy, limit.policy)
  if (identity !== undefined) {
    headers.push(verdictHeaders.subject, identity.subject, verdictHeaders.scopes, [...identity.scopes].join(' '))
    for (const [name, value] of identity.claims) headers.push(verdictHeaders.claims + name, value)
  }
  if (verdict.code !== 'allowed') {
    headers.push(verdictHeaders.detail, verdict.detail)
    if (status === 401) headers.push(verdictHeaders.challenge, code === 'token_missing' ? 'Bearer' : 'Bearer error="invalid_token"')
    if (status === 403) headers.push(verdictHeaders.challenge, 'Bearer error="insufficient_scope"')
    if (status === 429) headers.push(verdictHeaders.retryAfter, String(limit?.retryAfterSeconds ?? 1))
    if (status === 503) headers.push(verdictHeaders.retryAfter, '1')
  }
  response.sendDate = false
  // nginx knows two denials; the variable tells which one the client hears of.
  response.writeHead(verdict.code === 'allowed' ? 204 : status === 401 ? 401 : 403, headers).end()
}
