/** HAProxy for `questions/gateway.ts`: a token by a public key of a file, a limit for each subject in its own memory, a line for each request; one thread. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findPeer, freePort } from '@platform/stack'

export interface Peer extends AsyncDisposable {
  readonly port: number
  readonly pid: number
}

/** Undefined where HAProxy cannot be had. */
export async function startHaproxy(folder: string, to: number, publicKey: string): Promise<Peer | undefined> {
  const program = await findPeer('haproxy')
  if (program === undefined) return undefined
  const port = await freePort()
  const [file, key] = [join(folder, 'haproxy.cfg'), join(folder, 'public.pem')]
  writeFileSync(key, publicKey)
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 900
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  timeout connect 1s
  timeout client 60s
  timeout server 60s
frontend door
  bind 127.0.0.1:${port}
  stick-table type string len 64 size 100k expire 10s store http_req_rate(1s)
  http-request set-var(txn.token) http_auth_bearer
  http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
  http-request set-var(txn.iss) var(txn.token),jwt_payload_query('$.iss')
  http-request set-var(txn.aud) var(txn.token),jwt_payload_query('$.aud')
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.sub) var(txn.token),jwt_payload_query('$.sub')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless { var(txn.alg) -m str ES256 } { var(txn.iss) -m str bench } { var(txn.aud) -m str film-store }
  http-request deny deny_status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }
  http-request deny deny_status 401 unless { var(txn.token),jwt_verify(txn.alg,"${key}") 1 }
  http-request track-sc0 var(txn.sub)
  http-request deny deny_status 429 if { sc0_http_req_rate gt 1000000 }
  default_backend films
backend films
  server one 127.0.0.1:${to}
`,
  )
  const child = spawn(program, ['-f', file, '-db'], { stdio: ['ignore', openSync('/dev/null', 'w'), 'inherit'] })
  const isUp = async () => (await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined))?.status === 401
  for (let tries = 0; !(await isUp()); tries++) {
    if (tries > 500 || child.exitCode !== null) throw new Error('HAProxy does not answer')
    await new Promise((again) => setTimeout(again, 20))
  }
  return {
    port,
    pid: child.pid!,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      if (child.exitCode === null) await once(child, 'exit')
    },
  }
}
