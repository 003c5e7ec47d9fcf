import { request } from 'node:http'
import { join } from 'node:path'
import type { Site } from './plan.ts'

const answerTimeoutMs = 5_000
const temporaryPaths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

export function stateSocket({ folder }: Site): string {
  return join(folder, 'state.sock')
}

export interface NginxState {
  version: string
  generation: number
}

/** A whole configuration around what the caller says: everything written lies in the folder, and a socket there tells what is in force. */
export function nginxText(config: string, generation: number, site: Site): string {
  const { folder, port } = site
  return `
daemon off;
worker_processes 1;
pid ${quoted(join(folder, 'nginx.pid'))};
error_log stderr notice;
events { worker_connections 1024; }
http {
  access_log off;
${temporaryPaths.map((name) => `  ${name}_temp_path ${quoted(join(folder, name))};`).join('\n')}
  server {
    listen ${quoted(`unix:${stateSocket(site)}`)};
    location / { return 200 '$nginx_version ${generation}'; }
  }
${config.replaceAll('{{listen}}', `127.0.0.1:${port}`)}
}
`
}

/** As nginx reads it: whatever a path holds, it is one word. */
function quoted(text: string): string {
  return `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`
}

/** Rejects while nothing answers. */
export function askState(site: Site): Promise<NginxState> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: stateSocket(site), path: '/', agent: false, timeout: answerTimeoutMs })
    outgoing.once('timeout', () => outgoing.destroy(new Error(`nginx did not answer within ${answerTimeoutMs} ms`)))
    outgoing.once('error', reject)
    outgoing.once('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (piece: string) => (text += piece))
      response.once('error', reject)
      response.once('end', () => {
        const [version = '', generation] = text.split(' ')
        resolve({ version, generation: Number(generation) })
      })
    })
    outgoing.end()
  })
}
