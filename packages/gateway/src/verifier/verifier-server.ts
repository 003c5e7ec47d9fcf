import { chmodSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { equalDeadlines } from '@platform/kernel'
import type { LoggerLike } from '../logger-like.ts'
import { readQuestion } from './question-text.ts'
import type { Verdict } from './verdict.ts'
import { verdictText } from './verdict-text.ts'
import type { Question } from './verifier.ts'

/** Below nginx's own limit, so that what the client hears says why. */
const answerTimeoutMs = 4_000
const failed: Verdict = { code: 'verifier_failed', status: 503, detail: 'the request could not be verified' }

/**
 * Answers nginx's questions on a socket of the gateway's folder. It speaks just the HTTP that our nginx speaks there: what is anything else gets no
 * answer, and nginx lets nobody in without one.
 */
export class VerifierServer {
  readonly #server: Server
  readonly #decide: (question: Question) => Verdict | Promise<Verdict>
  readonly #logger: LoggerLike
  readonly #sockets = new Set<Socket>()
  readonly #deadline = equalDeadlines(answerTimeoutMs)

  constructor(decide: (question: Question) => Verdict | Promise<Verdict>, logger: LoggerLike) {
    this.#decide = decide
    this.#logger = logger
    this.#server = createServer((socket) => this.#listenTo(socket))
  }

  async listen(path: string): Promise<void> {
    rmSync(path, { force: true })
    await new Promise<void>((resolve, reject) => void this.#server.once('error', reject).listen(path, resolve))
    // Workers run as another user when the gateway is root's.
    chmodSync(path, 0o666)
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise((resolve) => void this.#server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #listenTo(socket: Socket): void {
    this.#sockets.add(socket)
    let begun = ''
    socket.once('close', () => this.#sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    socket.on('data', (piece: Buffer) => {
      begun += piece.toString('latin1')
      try {
        const question = readQuestion(begun)
        if (question === undefined) return
        begun = ''
        this.#answer(question, socket)
      } catch (error) {
        this.#logger.error({ reason: (error as Error).message }, 'the verifier was asked by something that is not its nginx')
        socket.destroy()
      }
    })
  }

  #answer(question: Question, socket: Socket): void {
    const startedAt = performance.now()
    const say = (verdict: Verdict): void => {
      if (!socket.destroyed) socket.write(verdictText(verdict, performance.now() - startedAt), 'latin1')
    }
    const fail = (reason: string): void => {
      this.#logger.error({ route: question.route, reason }, 'no verdict on a request')
      say(failed)
    }
    const write = (verdict: Verdict): void => {
      try {
        say(verdict)
      } catch (error) {
        fail((error as Error).message)
      }
    }
    let verdict: Verdict | Promise<Verdict>
    try {
      verdict = this.#decide(question)
    } catch (error) {
      return fail((error as Error).message)
    }
    if (verdict instanceof Promise) this.#whenDecided(verdict, write, fail)
    else write(verdict)
  }

  #whenDecided(verdict: Promise<Verdict>, write: (verdict: Verdict) => void, fail: (reason: string) => void): void {
    let isAnswered = false
    const once = (answer: () => void): void => {
      if (isAnswered) return
      isAnswered = true
      inTime()
      answer()
    }
    const inTime = this.#deadline(() => once(() => fail(`no verdict within ${answerTimeoutMs} ms`)))
    verdict.then(
      (decided) => once(() => write(decided)),
      (error: Error) => once(() => fail(error.message)),
    )
  }
}
