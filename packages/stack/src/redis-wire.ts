import { connect } from 'node:net'
import { endpointOf } from './endpoint.ts'
import { StackError } from './errors.ts'

export type RedisReply = string | number | null

const timeoutMs = 5_000

/** One command over a connection of its own, in the database that the URL names; so that no client library is needed here. */
export function redisCommand(url: string, ...command: string[]): Promise<RedisReply> {
  const { username, password, pathname } = new URL(url)
  const commands: string[][] = []
  if (password) commands.push(['AUTH', ...(username ? [decodeURIComponent(username)] : []), decodeURIComponent(password)])
  if (pathname.length > 1) commands.push(['SELECT', pathname.slice(1)])
  commands.push(command)
  return new Promise((resolve, reject) => {
    const socket = connect(endpointOf(url, 6379))
    let received = ''
    socket.setTimeout(timeoutMs, () => socket.destroy(unreachable(`did not answer ${command[0]} within ${timeoutMs} ms`)))
    socket.once('connect', () => socket.write(commands.map(encode).join('')))
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1')
      const replies = decode(received)
      if (replies.length < commands.length) return
      const failure = replies.find((reply) => reply instanceof StackError)
      if (failure) reject(failure)
      else if (replies.slice(0, commands.length - 1).some((reply) => reply !== 'OK')) reject(unreachable('is none: another server answers'))
      else resolve(replies[commands.length - 1] as RedisReply)
      socket.destroy()
    })
    socket.once('error', (cause) => reject(StackError.isInstance(cause) ? cause : unreachable('does not answer', cause)))
    socket.once('close', () => reject(unreachable('closed the connection')))
  })
}

function unreachable(what: string, cause?: unknown): StackError {
  return new StackError('ERR_STACK_UNREACHABLE', `Redis ${what}`, { cause })
}

function encode(words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`
}

/** The complete replies at the start of the text; arrays are not needed here. */
function decode(text: string): (RedisReply | StackError)[] {
  const replies: (RedisReply | StackError)[] = []
  for (let at = 0; ; ) {
    const end = text.indexOf('\r\n', at)
    if (end < 0) return replies
    const head = text.slice(at + 1, end)
    const type = text[at]
    at = end + 2
    if (type === '$' && head !== '-1') {
      const size = Number(head)
      if (text.length < at + size + 2) return replies
      replies.push(text.slice(at, at + size))
      at += size + 2
    } else if (type === '$') replies.push(null)
    else if (type === ':') replies.push(Number(head))
    else if (type === '-') replies.push(new StackError('ERR_STACK_REFUSED', `Redis: ${head}`))
    else replies.push(head)
  }
}
