import { dirname } from 'node:path'
import { docker } from '@platform/stack/compose'

/** Inside a network of the store, which alone reaches its parts. */
const head = `
const { connect } = require('node:net')
const tls = require('node:tls')
const place = (target) => { const [host, port] = target.split(':'); return { host, port: Number(port), timeout: 3000 } }
const all = async (look) => console.log(JSON.stringify(Object.fromEntries(await Promise.all(process.argv.slice(1).map(async (target) => [target, await look(target)])))))
`

/** The serial number of the certificate, once it is verified; otherwise what is wrong with it. PostgreSQL is asked for TLS first. */
const serials = `${head}
const { readFileSync } = require('node:fs')
const ca = readFileSync('/trusted/ca.pem')
all((target) => new Promise((resolve) => {
  const { host, port, timeout } = place(target)
  const plain = connect({ host, port, timeout })
  const fail = (error) => { plain.destroy(); resolve('refused: ' + (error?.message ?? 'no answer')) }
  const secure = () => {
    const socket = tls.connect({ socket: plain, servername: host, ca }, () => { resolve(socket.getPeerCertificate().serialNumber); socket.destroy() })
    socket.once('error', fail)
  }
  plain.once('error', fail).once('timeout', fail).once('connect', () => {
    if (port !== 5432) return secure()
    plain.write(Buffer.from('0000000804d2162f', 'hex'))
    plain.once('data', (answer) => (answer.toString() === 'S' ? secure() : fail(new Error('it speaks no TLS'))))
  })
}))`

/** What each says to somebody who speaks its protocol without TLS, in its first bytes. */
const plain = `${head}
const startup = Buffer.concat([Buffer.from('0000001500030000', 'hex'), Buffer.from('user\\0orders\\0\\0')])
const words = { 5432: startup, 6379: 'PING\\r\\n', 5671: 'AMQP\\x00\\x00\\x09\\x01', 5672: 'AMQP\\x00\\x00\\x09\\x01' }
all((target) => new Promise((resolve) => {
  const { host, port, timeout } = place(target)
  let said = ''
  const socket = connect({ host, port, timeout })
  const done = () => { socket.destroy(); resolve(said) }
  socket.on('data', (text) => (said += text.toString('latin1'))).once('close', done).once('timeout', done).once('error', done)
  socket.once('connect', () => socket.write(words[port] ?? 'GET /ready HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\nconnection: close\\r\\n\\r\\n'))
}))`

async function ask(network: string, script: string, targets: readonly string[], ...options: string[]): Promise<Record<string, string>> {
  const image = 'film-store/orders-api'
  const run = ['run', '--rm', '--network', network, '--no-healthcheck', '--entrypoint', 'node', ...options, image, '-e', script, ...targets]
  return JSON.parse(await docker(run)) as Record<string, string>
}

/** By target (`host:port`): the serial number of what it shows, or why it is not believed. */
export function servedCertificates(network: string, authority: string, targets: readonly string[]): Promise<Record<string, string>> {
  return ask(network, serials, targets, '--volume', `${dirname(authority)}:/trusted:ro`)
}

/** Beginnings of a conversation without TLS: PostgreSQL asks for a password, Redis answers, RabbitMQ begins or names its protocol. */
const beginnings = ['R', '+', '-', '\u0001\0\0', 'AMQP']
/** HTTP says anything but that this is the wrong door. */
const isServed = (said: string) => beginnings.some((beginning) => said.startsWith(beginning)) || /^HTTP\/1\.1 (?!400)/.test(said)

/** Those of the targets that serve somebody who speaks no TLS. */
export async function servedInPlainText(network: string, targets: readonly string[]): Promise<string[]> {
  const answers = await ask(network, plain, targets)
  return Object.entries(answers).flatMap(([target, said]) =>
    isServed(said) ? [`${target} says ${JSON.stringify(said.slice(0, 60))}`] : [],
  )
}
