/** One cell of the table: instances with mixed traffic are replaced behind a real nginx that hears `lagMs` late. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createBroker } from '@platform/queue'
import { rabbitmq } from '@platform/queue/rabbitmq'
import type { NginxServer } from '@platform/stack'
import type { Balancer } from './balancer.ts'
import { startLongLived } from './long-lived.fixture.ts'
import { sold } from './mixed-protocol.fixture.ts'
import { type Proof, proveDeployment } from './prove.ts'

export const noInstances = 'server { listen {{listen}}; return 503; }'

export interface Cell {
  /** Requests a second, 0: full load. */
  readonly rate: number
  readonly lagMs: number
}

export interface Seen {
  readonly proof: Proof
  /** Requests that nginx got no answer to. */
  readonly badGateways: number
  /** Connections that nginx itself reset when it took a new configuration over. */
  readonly resets: number
  readonly longLived: { readonly failures: readonly string[]; readonly ends: Readonly<Record<string, number>> }
  readonly messages: { readonly published: number; readonly handledOnce: number; readonly begun: number }
}

export async function replaceBehindNginx(nginx: NginxServer, amqpUrl: string, { rate, lagMs }: Cell): Promise<Seen> {
  const folder = mkdtempSync(join(tmpdir(), 'mixed-'))
  const balancer: Balancer = {
    url: nginx.url,
    async route(ports) {
      const name = String(++generation)
      await nginx.reload(configOf(ports, folder, name))
      await untilAlone(nginx.url, name)
    },
    close: () => nginx.reload(noInstances),
  }
  const publisher = createBroker({ driver: rabbitmq({ urls: [amqpUrl] }), service: 'publisher' })
  let generation = 0
  let published = 0
  let longLived: ReturnType<typeof startLongLived> | undefined
  let messages: NodeJS.Timeout | undefined
  const publishing = new Set<Promise<unknown>>()
  process.env['FOLDER'] = folder
  process.env['AMQP_URL'] = amqpUrl
  // More than the reload of nginx takes on a busy machine.
  process.env['MIN_DRAIN_MS'] = String(lagMs + 4_000)
  try {
    const proof = await proveDeployment(balancer, {
      launch: {
        command: [process.execPath, '--conditions=@platform/source', join(import.meta.dirname, 'mixed.fixture.ts')],
        portVariable: 'PORT',
        readyPath: '/',
        startTimeoutMs: 60_000,
        gracePeriodMs: 30_000,
      },
      load: { path: '/', method: 'GET', rate, clients: 16 },
      instances: 2,
      replacements: 2,
      lagMs,
      onProgress(line) {
        if (!line.endsWith('are ready')) return
        longLived = startLongLived(nginx.url)
        messages = setInterval(() => {
          const sent = publisher.publish(sold, { id: String(published++) })
          publishing.add(sent)
          void sent.finally(() => publishing.delete(sent))
        }, 100)
      },
      async settled() {
        clearInterval(messages)
        await Promise.all(publishing)
        await longLived?.stop()
        await handled(folder, published)
      },
    })
    const notes = notesOf(folder)
    const count = (what: string): number => notes.filter((note) => note.startsWith(what)).length
    const broken = (is502: boolean): number =>
      [...proof.tally.failures].reduce((sum, [problem, times]) => sum + (/^50[24]/.test(problem) === is502 ? times : 0), 0)
    return {
      proof,
      badGateways: broken(true),
      resets: broken(false),
      longLived: { failures: longLived?.failures ?? [], ends: longLived?.ends ?? {} },
      messages: { published, handledOnce: new Set(notes.filter((note) => note.startsWith('done'))).size, begun: count('begun') },
    }
  } finally {
    clearInterval(messages)
    await balancer.close()
    await publisher.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Workers of before may still accept for a moment: every answer of twenty on new connections is to come from the new ones. */
async function untilAlone(url: string, name: string): Promise<void> {
  for (let inARow = 0; inARow < 20; ) {
    const seen = await fetch(`${url}/generation`, { headers: { connection: 'close' } }).then(
      (response) => response.text(),
      () => undefined,
    )
    inARow = seen === name ? inARow + 1 : 0
  }
}

function notesOf(folder: string): string[] {
  try {
    return readFileSync(join(folder, 'messages'), 'utf8').trim().split('\n')
  } catch {
    return []
  }
}

/** What is published is handled within seconds, by whoever is there. */
async function handled(folder: string, published: number): Promise<void> {
  const until = performance.now() + 20_000
  while (performance.now() < until && notesOf(folder).filter((note) => note.startsWith('done')).length < published) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function configOf(ports: readonly number[], folder: string, name: string): string {
  const http2Ports = ports.map((port) => readFileSync(join(folder, String(port)), 'utf8'))
  const servers = (list: readonly (number | string)[]): string => list.map((port) => `server 127.0.0.1:${port} max_fails=0;`).join(' ')
  // No second try: it would hide what is to be counted.
  return `
    map $http_upgrade $connection_or_none { default upgrade; '' ''; }
    upstream one { ${servers(ports)} keepalive 32; }
    upstream two { ${servers(http2Ports)} keepalive 8; }
    keepalive_requests 1000000;
    server {
      listen {{listen}};
      proxy_next_upstream off;
      grpc_next_upstream off;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_or_none;
      proxy_buffering off;
      proxy_request_buffering off;
      location /generation { return 200 '${name}'; }
      location / { proxy_pass http://one; }
      location /h2/ { grpc_pass grpc://two; }
    }`
}
