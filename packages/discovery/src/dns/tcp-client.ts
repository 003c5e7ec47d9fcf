import { randomInt } from 'node:crypto'
import { connect } from 'node:net'
import { type Answer, answerId, decodeAnswer, encodeQuestion, type Question } from './answer.ts'
import { LARGEST_TCP } from './message.ts'
import { tcpMessage, tcpMessages } from './tcp-messages.ts'

/** Servers end a connection after some questions, 128 in the library that most are built on. */
const QUESTIONS_PER_CONNECTION = 100

export interface NameServer {
  readonly host: string
  readonly port: number
}

/**
 * Asks one server over TCP, for UDP may be cut without a mark (Consul gives three instances of many). What it does not answer until the signal
 * aborts stays undefined; rejects when it cannot be reached at all.
 */
export async function askAll(
  server: NameServer,
  questions: readonly Question[],
  signal: AbortSignal,
): Promise<readonly (Answer | undefined)[]> {
  const answers: (Answer | undefined)[] = []
  for (let start = 0; start < questions.length && !signal.aborted; start += QUESTIONS_PER_CONNECTION) {
    answers.push(...(await askTogether(server, questions.slice(start, start + QUESTIONS_PER_CONNECTION), signal)))
  }
  return answers
}

async function askTogether({ host, port }: NameServer, questions: readonly Question[], signal: AbortSignal) {
  const firstId = randomInt(0x1_0000)
  const idOf = (index: number): number => (firstId + index) & 0xffff
  const open = new Map(questions.map((question, index) => [idOf(index), { question, index }]))
  const answers = Array<Answer | undefined>(questions.length)
  const socket = connect({ host, port, signal })
  let failure: unknown
  socket.on('error', (error) => (failure = error))
  for (const [index, question] of questions.entries()) socket.write(tcpMessage(encodeQuestion(idOf(index), question)))
  try {
    for await (const message of tcpMessages(socket, LARGEST_TCP)) {
      const id = answerId(message)
      const asked = id === undefined ? undefined : open.get(id)
      if (asked === undefined) continue
      open.delete(id!)
      answers[asked.index] = decodeAnswer(message, asked.question)
      if (open.size === 0) break
    }
  } catch (error) {
    failure ??= error
  } finally {
    socket.destroy()
  }
  if (open.size === questions.length && failure !== undefined && !signal.aborted) throw failure
  return answers
}
